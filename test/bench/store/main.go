// Command store measures what it takes to keep the state of a kernel on a volume
// and to load it again, beside a plain copy and zstd: a GiB of arrays through a
// pipe, as a kernel writes it. Each way in a process of its own, best of three.
//
//	go run ./test/bench/store [DIRECTORY [MiB]]
package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"unsafe"

	"github.com/elastichub/elastichub/kernels/agent/keep/frames"
)

const arrays = 8 // of which a state is made

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 && args[0] == childFlag {
		return child(context.Background(), args[1], args[2], os.Stdin, os.Stdout)
	}
	dir, size := os.TempDir(), 1024
	if len(args) > 0 {
		dir = args[0]
	}
	if len(args) > 1 {
		var err error
		if size, err = strconv.Atoi(args[1]); err != nil {
			return err
		}
	}
	fmt.Printf("# a state of %d MiB through a pipe, on %s; best of %d\n", size, dir, rounds)
	fmt.Printf("%-38s%8s%8s%8s%9s%8s\n", "", "s", "MB/s", "CPU s", "peak MB", "on disk")
	for _, kind := range []string{"noise", "floats", "counts", "numbers"} {
		if err := measure(dir, kind, state(kind, size<<20/arrays)); err != nil {
			return err
		}
	}
	return nil
}

// state is a stream with arrays of that many bytes.
func state(kind string, size int) []byte {
	stream := make([]byte, 0, arrays*(size+1000))
	add := func(letter frames.Letter, payload []byte) {
		stream = frames.Frame{Letter: letter, Size: int64(len(payload))}.AppendHead(stream)
		stream = append(stream, payload...)
	}
	add(frames.Header, []byte(`{"format":1}`))
	for i := range arrays {
		add(frames.Record, fmt.Appendf(nil, `{"i":%d,"k":"variable","n":"a%d","t":"numpy.ndarray"}`, i, i))
		add(frames.Buffer, array(kind, i, size))
		add(frames.Complete, nil)
	}
	add(frames.End, []byte(`{"outcome":"saved"}`))
	return stream
}

// array is what is in memory of one that has noise, normally distributed float32,
// counts below a thousand, or numbers one after the other.
func array(kind string, seed, size int) []byte {
	source := rand.NewChaCha8([32]byte{byte(seed)})
	if kind == "noise" {
		data := make([]byte, size)
		_, _ = io.ReadFull(source, data)
		return data
	}
	random, words := rand.New(source), make([]uint64, size/8)
	for i := range words {
		switch kind {
		case "floats":
			low, high := math.Float32bits(float32(random.NormFloat64())), math.Float32bits(float32(random.NormFloat64()))
			words[i] = uint64(low) | uint64(high)<<32
		case "counts":
			words[i] = random.Uint64N(1000)
		case "numbers":
			words[i] = uint64(seed)<<40 + uint64(i)
		}
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), size)
}
