// Package conformance runs leanSpec's test vectors against this node. Every vector is a
// subtest. At the end, a table shows the numbers of passed, failed and skipped vectors:
//
//	go test -v ./conformance
//
// Without -v, go test shows the table only if a test fails, or if it runs in this folder
// without a package argument.
//
// The vectors are in the folder that LEANSPEC_VECTORS names, which contains consensus/.
// The default is ../shared/vectors/lstar-43246bd6 beside the repository.
//
// The vectors run under the rules of the leanSpec commit that made them
// (lstar.PinnedRules). Nodes apply a few newer rules (lstar.NetworkRules). The fork choice
// vectors also run under those, without the vectors that the newer rules contradict, and
// have a second row in the table.
//
// The package reads vectors strictly: an unknown field and a missing field make a vector
// fail, so no part of a vector remains unchecked.
//
// leanSpec: packages/testing/src/consensus_testing
package conformance
