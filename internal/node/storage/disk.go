package storage

import (
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is a file system that stops at the first failed write: the goroutine that wrote blocks
// permanently, and the failure is reported in fail. So pebble, which would panic or write again,
// never receives the error, and no later write can damage the database further.
type disk struct {
	vfs.FS
	fail *failure
}

// stopOn reports err and blocks the goroutine permanently, unless err is nil or says that a file
// exists or does not exist.
func (f *failure) stopOn(err error, operation, name string) {
	if err == nil || errors.Is(err, os.ErrExist) || errors.Is(err, os.ErrNotExist) {
		return
	}
	var path *os.PathError
	if !errors.As(err, &path) { // a PathError names the operation and the file
		err = fmt.Errorf("%s %s: %w", operation, name, err)
	}
	f.report(err)
	select {}
}

func (d disk) wrap(file vfs.File, err error, operation, name string) (vfs.File, error) {
	d.fail.stopOn(err, operation, name)
	if err != nil {
		return nil, err
	}
	return diskFile{file, d.fail, name}, nil
}

func (d disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := d.FS.Create(name, category)
	return d.wrap(file, err, "create", name)
}

func (d disk) OpenReadWrite(name string, category vfs.DiskWriteCategory, options ...vfs.OpenOption) (vfs.File, error) {
	file, err := d.FS.OpenReadWrite(name, category, options...)
	return d.wrap(file, err, "open", name)
}

func (d disk) OpenDir(name string) (vfs.File, error) {
	file, err := d.FS.OpenDir(name)
	return d.wrap(file, err, "open", name)
}

func (d disk) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := d.FS.ReuseForWrite(old, name, category)
	return d.wrap(file, err, "reuse", name)
}

func (d disk) Link(old, name string) error {
	err := d.FS.Link(old, name)
	d.fail.stopOn(err, "link", name)
	return err
}

func (d disk) Rename(old, name string) error {
	err := d.FS.Rename(old, name)
	d.fail.stopOn(err, "rename", name)
	return err
}

func (d disk) MkdirAll(name string, mode os.FileMode) error {
	err := d.FS.MkdirAll(name, mode)
	d.fail.stopOn(err, "make folder", name)
	return err
}

// diskFile is a file of a disk. It stops at the first failed write in the same way.
type diskFile struct {
	vfs.File
	fail *failure
	name string
}

func (f diskFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.fail.stopOn(err, "write", f.name)
	return n, err
}

func (f diskFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	f.fail.stopOn(err, "write", f.name)
	return n, err
}

func (f diskFile) Sync() error {
	err := f.File.Sync()
	f.fail.stopOn(err, "sync", f.name)
	return err
}

func (f diskFile) SyncData() error {
	err := f.File.SyncData()
	f.fail.stopOn(err, "sync", f.name)
	return err
}

func (f diskFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	f.fail.stopOn(err, "sync", f.name)
	return full, err
}
