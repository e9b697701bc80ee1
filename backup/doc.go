// Package backup writes what a release keeps in a cluster into one archive, and brings it back.
//
//	cluster ─ Collect ─▶ Contents ─ Write ─▶ archive ─ Read ─▶ Contents ─ Restore ─▶ cluster
//
// An archive is a tar.gz: manifest.json first, then one JSON file for each object, as plain
// kubectl apply takes it, and secrets.age with the Secrets if they were asked for. What only the
// cluster that it came from knows is left out of objects: UIDs, owners, status. What of that a
// kernel needs is in its annotation v1alpha1.AnnotationRestoreAs.
//
// Read believes nothing before it has read all: an archive that is truncated, damaged or of a
// newer release writes nothing. Restore overwrites nothing unless it is asked to, may be
// repeated, and says of each object what became of it.
package backup
