// Package limittest tells whether a limiter keeps the promises of package ratelimit,
// wherever it keeps its limits.
//
//	func TestConformance(t *testing.T) {
//		limittest.Run(t, func(s limittest.Settings) (limittest.Limiter, error) {
//			return newLimiter(s.Limit, s.LimitFor, s.Mode)
//		})
//	}
//
// [Run] puts each check to a limiter of its own. [Check] does the same without package
// testing, and returns what is wrong.
//
// # Behavior
//
// Checks run by real time, since a limiter may keep its limits in another process: they
// take about a second, and allow for a machine that is busy. What they tell to be wrong
// is wrong however busy it is.
//
//	check          promise
//	burst          an idle key has its whole burst, and not one event more
//	refill         what is denied is granted after RetryAfter, and not sooner
//	rate           over any stretch of time, at most burst + rate*time is granted
//	concurrent     callers at the same time get the burst between them, exactly
//	keys           keys do not share, whatever they are made of
//	cost           all events of a call are granted or none
//	exceeding      more than the burst is an error without a time to retry after
//	negative       a negative cost or refund is an error, and mints nothing
//	huge           no cost is so large that it overflows
//	peek           looking takes nothing
//	none           the zero limit denies all, and an unlimited one nothing
//	upto           as many are granted as there are
//	refund         what is given back is there again, and never more than the burst
//	reset          a key has its whole burst again
//	change         a limit that is changed refills nobody
//	own            LimitFor gives a key a limit of its own
//	shadow         what is not enforced is granted, and said to be
//
// It does not wait for more than a second for anything to be granted, nor test faults.
package limittest
