// Package upgrade brings a release to the version of this binary while people work.
//
//	look ─▶ check ─┬─▶ something is against it: it is named, and nothing is touched
//	               └─▶ apply the kinds ─▶ helm upgrade ─▶ watch ─▶ say what was done
//
// What is looked at: which releases everything is of, what the kinds of this one would change,
// whether they take every object that is stored, and what Helm would roll. Kernels that run
// keep their agent until they are parked, and notebook servers their Pod until they are
// started anew: neither is touched.
package upgrade
