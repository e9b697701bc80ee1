package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	block = 512
	// mostPieces bounds what is noted of one file's holes; what comes after is written with its zeros.
	mostPieces = 100_000
)

// piece is a part of a file that is no hole.
type piece struct{ offset, size int64 }

// pieces are those of a file, nil if it has no hole or its file system does not tell.
func pieces(file *os.File, stat *unix.Stat_t) ([]piece, error) {
	if stat.Blocks*block >= stat.Size {
		return nil, nil
	}
	found := []piece{}
	fd := int(file.Fd())
	for at := int64(0); at < stat.Size; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole to the end
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		hole := stat.Size
		if len(found) < mostPieces-1 {
			if hole, err = unix.Seek(fd, data, unix.SEEK_HOLE); err != nil {
				return nil, err
			}
		}
		hole = min(hole, stat.Size)
		if hole <= data {
			break
		}
		found = append(found, piece{data, hole - data})
		at = hole
	}
	if len(found) == 1 && found[0] == (piece{0, stat.Size}) {
		return nil, nil
	}
	return found, nil
}

// writeSparse writes a file with holes as GNU tar does (PAX format 1.0), which archive/tar reads
// and does not write: a header of records, one of a file whose first blocks are the map of its pieces, and these.
func writeSparse(to io.Writer, header *tar.Header, file *os.File, found []piece) error {
	var placed strings.Builder
	stored := int64(0)
	fmt.Fprintf(&placed, "%d\n", len(found)+1)
	for _, p := range found {
		fmt.Fprintf(&placed, "%d\n%d\n", p.offset, p.size)
		stored += p.size
	}
	fmt.Fprintf(&placed, "%d\n0\n", header.Size) // the end, so that a hole there is one
	pieceMap := padded([]byte(placed.String()))
	size := int64(len(pieceMap)) + stored

	records := []byte(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") +
		record("GNU.sparse.name", header.Name) + record("GNU.sparse.realsize", strconv.FormatInt(header.Size, 10)) +
		record("mtime", fmt.Sprintf("%d.%09d", header.ModTime.Unix(), header.ModTime.Nanosecond())) +
		record("size", strconv.FormatInt(size, 10)) +
		record("uid", strconv.Itoa(header.Uid)) + record("gid", strconv.Itoa(header.Gid)))
	if header.ModTime.Unix() < 0 {
		records = bytes.Replace(records, []byte(record("mtime", fmt.Sprintf("%d.%09d", header.ModTime.Unix(), header.ModTime.Nanosecond()))),
			[]byte(record("mtime", strconv.FormatInt(header.ModTime.Unix(), 10))), 1)
	}
	extended, err := headerBlock(&tar.Header{Name: "PaxHeaders.0/sparse", Mode: 0o644, Size: int64(len(records))}, tar.TypeXHeader)
	if err != nil {
		return err
	}
	own, err := headerBlock(&tar.Header{Name: "GNUSparseFile.0/sparse", Mode: header.Mode, Size: min(size, 1<<33-1)}, tar.TypeReg)
	if err != nil {
		return err
	}
	for _, part := range [][]byte{extended, padded(records), own, pieceMap} {
		if _, err := to.Write(part); err != nil {
			return err
		}
	}
	for _, p := range found {
		if n, err := io.Copy(to, io.NewSectionReader(file, p.offset, p.size)); err != nil || n != p.size {
			return errors.Join(fmt.Errorf("%w: %q", ErrChanged, header.Name), err)
		}
	}
	_, err = to.Write(make([]byte, -stored&(block-1)))
	return err
}

// record is one of a PAX header: its own length, name and value.
func record(name, value string) string {
	rest := " " + name + "=" + value + "\n"
	length := len(rest) + len(strconv.Itoa(len(rest)))
	if with := strconv.Itoa(length); len(with)+len(rest) != length {
		length = len(with) + len(rest)
	}
	return strconv.Itoa(length) + rest
}

func padded(content []byte) []byte {
	return append(content, make([]byte, -len(content)&(block-1))...)
}

// headerBlock is the block of a header, with a type that archive/tar writes by itself alone.
func headerBlock(header *tar.Header, typeflag byte) ([]byte, error) {
	var written bytes.Buffer
	header.Typeflag, header.Format = tar.TypeReg, tar.FormatUSTAR
	if err := tar.NewWriter(&written).WriteHeader(header); err != nil {
		return nil, err
	}
	made := written.Bytes()[:block]
	made[156] = typeflag
	copy(made[148:156], "        ")
	sum := 0
	for _, b := range made {
		sum += int(b)
	}
	copy(made[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return made, nil
}
