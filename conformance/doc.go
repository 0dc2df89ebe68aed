// Package conformance runs leanSpec's test vectors against this node: every
// vector is a subtest, and a table of what passed and what did not ends the run.
//
//	go test -v ./conformance
//
// The vectors are those of the folder that LEANSPEC_VECTORS names, which contains
// consensus/, and without it those of ../shared/vectors/lstar-43246bd6 beside the
// repository.
//
// The vectors run by the rules of the leanSpec commit that they were filled from
// (lstar.PinnedRules). Nodes apply a few newer rules (lstar.NetworkRules), so the
// fork choice vectors run by those too, in a row of their own, without the
// vectors that the newer rules contradict.
//
// go test shows the table with -v, on failure, and when it runs in this folder
// without a package argument.
//
// Vectors are read strictly: a field that the harness does not know fails the
// vector, as does one that is missing, so that nothing in a vector goes unchecked
// without anybody noticing.
//
// leanSpec: packages/testing/src/consensus_testing
package conformance
