# Summarizes the output of "go test -json ./...": jq -Rrn -f tests.jq FILE. It skips lines that are not JSON.
[inputs | fromjson? | objects] as $events
| def name: .Package + " " + (.Test // "");
  def count(action): [$events[] | select(.Action == action and .Test != null)] | length;
  # The last line that each test printed, without file and line.
  ($events | map(select(.Action == "output" and .Test != null and (.Output | test("^ +\\S+\\.go:\\d+: "))))
    | map({key: name, value: (.Output | sub("^ +\\S+\\.go:\\d+: "; "") | rtrimstr("\n"))}) | from_entries) as $said
| "\(count("pass")) tests passed, \(count("fail")) failed, \(count("skip")) skipped",
  ([$events[] | select(.Action == "skip" and .Test != null) | {name: name, why: ($said[name] // "no reason")}]
    | group_by(.why)[] | "  skipped: \(if length == 1 then .[0].name | sub("^github.com/leanEthereum/leanspec-node/"; "") else "\(length) tests" end): \(.[0].why)"),
  ([$events[] | select((.Action == "pass" or .Action == "fail") and .Test != null and (.Test | contains("/") | not))]
    | sort_by(-.Elapsed)[:12] | "  slowest: " + (map("\(.Test) \(.Elapsed | round) s") | join(", ")))
