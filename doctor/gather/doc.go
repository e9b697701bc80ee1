// Package gather reads a cluster and the chart's values for package doctor.
//
// It writes nothing but SelfSubject- and SubjectAccessReviews, which the API server does
// not keep. It asks the Hub and directories as the service does, with what the Secrets
// hold, if they can be reached from here: the address of a Service is one within the
// cluster, and there it looks at who stands behind it.
package gather
