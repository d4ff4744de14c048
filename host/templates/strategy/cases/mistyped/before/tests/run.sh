# Runs greet.sh and says in JUnit's format what came of it.
expect() {
    cases="$cases<testcase classname=\"greeting\" name=\"$1\">"
    if [ "$2" != "$3" ]; then
        cases="$cases<failure message=\"expected $2, got $3\"/>"
        failed=1
    fi
    cases="$cases</testcase>"
}
expect hello "Hello, Ada!" "$(sh greet.sh Ada)"
expect nobody "Hello, world!" "$(sh greet.sh)"
echo "<testsuite name=\"greeting\">$cases</testsuite>" > "$CHANGEBUS_REPORT"
exit "${failed:-0}"
