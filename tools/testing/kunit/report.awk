# SPDX-License-Identifier: GPL-2.0
# Sums up what KUnit said: a line for each suite, what failed in full, a line
# for all. Fails if a case did, if the kernel complained of something, or if
# it did not come to the end, of which the last lines are shown then. -v kver= is
# for the lines.

{ tail[NR % 10] = $0 }

/^1\.\.[0-9]+$/ { planned = substr($0, 4) }

/^ *# Totals: / {
	split($0, n, /[: ]+/)
	for (i in n) {
		if (n[i] == "pass") pass = n[i + 1]
		if (n[i] == "fail") fail = n[i + 1]
		if (n[i] == "skip") skip = n[i + 1]
	}
}

# A suite is over
/^(not )?ok [0-9]+ / {
	suites++
	name = $0
	sub(/^(not )?ok [0-9]+ (- )?/, "", name)
	printf "kunit: %s: %s: %d passed, %d failed, %d skipped\n",
		kver, name, pass, fail, skip
	passed += pass; failed += fail; skipped += skip
	if (/^not/ && !fail) {
		print "kunit: " kver ": " name " failed as a whole"
		failed++
	}
	pass = fail = skip = 0
}

/ (EXPECTATION|ASSERTION) FAILED at / { telling = 1 }
/^ *(not )?ok / { if (telling || /^ +not ok/) print; telling = 0 }
telling { print }

/(WARNING|BUG|INFO): |Kernel panic|[Oo]ops|Unable to handle/ {
	if (complaints++ < 3) left = 30
}
left > 0 && !telling { print; left-- }

END {
	printf "kunit: %s: %d suites: %d passed, %d failed, %d skipped\n",
		kver, suites, passed, failed, skipped
	if (!suites || suites != planned) {
		printf "kunit: %s: %d of %d suites came to an end\n",
			kver, suites, planned
		for (i = NR + 1; i <= NR + 10; i++) print tail[i % 10]
		exit 1
	}
	if (complaints)
		printf "kunit: %s: the kernel complained %d times\n", kver, complaints
	exit failed || complaints
}
