# whole.sh, to be read by others: the tests that cover every point of something. Under the race detector they would take
# hours; by themselves, as in go test ./..., some of them take a sample.
# shellcheck shell=bash disable=SC2034
whole='TestCrashMatrix|TestCrashesUnderLoadLoseNoAcknowledgedWrite|TestFailoverMatrix|TestEveryCrashEndsInTheSameState|TestLostReplies'
