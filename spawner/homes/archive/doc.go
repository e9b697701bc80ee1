// Package archive writes a home into one file, and reads it back before it says that it is there.
// It runs in a Pod of its own that nobody else's code is in, as the user whom the homes belong to.
//
//	NAME.tar.zst.partial is written ─▶ read back: the same bytes, and every entry ─▶ NAME.tar.zst
//	        └ anything fails: it is removed
//
// Files, directories, links, FIFOs, owners, modes, times and holes are kept, in GNU's and POSIX'
// format that every tar reads. Nothing is followed, and what is in the home is opened only as what
// it was seen to be. Devices, sockets and other file systems are left out and counted. What
// cannot be read is a fault, since the home is removed afterwards.
package archive
