// Package homes finds homes of people who left: whom the Hub or the directory does not know any
// more. It tells of them, and if it is asked to, removes them after a grace, archived before or not. The
// leader does it.
//
//	Hub and directory say who is there ─ judge ─▶ present: the note on the claim goes
//	        │                              ├────▶ left: AnnotationUserGone, an Event
//	        │                              └────▶ left for the whole grace, and in a look that is
//	        │                                     made just for this: the claim is deleted. With mode
//	        │                                     archive a Job archives it first (AnnotationArchived);
//	        │                                     if that fails for good, or is in use again, it stays
//	        └ one of them fails, nobody is known, or more people have vanished since the look
//	          before than a bounded share: nothing is concluded
//
// A person is who the Hub noted on the claim (ADR 6): a newcomer of a freed name is not who left,
// and who was renamed is not gone. Where nothing tells which, the home is unclear and stays. So
// do homes that elastichub has not made, that a policy keeps, and that are in use. Static homes, which
// are directories of a claim that many share, may be archived and are never removed.
package homes
