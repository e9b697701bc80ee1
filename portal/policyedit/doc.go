// Package policyedit is what stands between a GroupPolicy and a form: the fields of the
// form, what a change changes, and who may change it at all. It works on a spec as JSON
// has it, so that what this release does not know is neither shown wrongly nor lost.
//
//	spec ─ Fill ─▶ Form ─ a person ─▶ Form ─ Spec ─▶ new spec ─ Patch(old, new) ─▶ API server
//	                                                     └─ Changes(old, new) ─▶ shown first
//
// Who has changed the object meanwhile is told by its resourceVersion; Patch(base, mine),
// put over theirs, is then what would be saved, and is shown again.
package policyedit
