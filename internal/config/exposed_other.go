//go:build !unix

package config

import "io/fs"

func isRoots(fs.FileInfo) bool { return false }
