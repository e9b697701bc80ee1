// Package doctor says of a cluster and of the chart's values what will not work, and
// how to mend it.
//
//	gather ─▶ Picture ─▶ Diagnose ─▶ Report
//
// The checks are pure: what they look at was gathered before, by package gather. What
// could not be read is no problem by itself; the report names it as not checked.
package doctor
