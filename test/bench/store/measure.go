package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const rounds = 3

// way is a pair of commands that keep a stream and give it back.
type way struct {
	name       string
	there      bool // the stream has been kept before
	save, load []string
}

func ways(dir string) ([]way, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	step := func(name string) []string { return []string{self, childFlag, name, dir} }
	all := []way{
		{name: "store", save: step("save"), load: step("load")},
		{name: "store, nothing changed", there: true, save: step("save")},
		{name: "plain copy", save: step("copy"), load: step("copy back")},
	}
	if zstd, err := exec.LookPath("zstd"); err == nil {
		file := filepath.Join(dir, "state.zst")
		all = append(all, way{
			name: "zstd -1 -T0, not synced", save: []string{zstd, "-1", "-T0", "-qfo", file}, load: []string{zstd, "-dqc", file},
		})
	}
	return all, nil
}

// measure prints what each way takes for a stream.
func measure(base, kind string, stream []byte) error {
	dir, err := os.MkdirTemp(base, "bench-store-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	all, err := ways(dir)
	if err != nil {
		return err
	}
	for _, each := range all {
		var save, load cost
		for range rounds {
			if !each.there {
				if err := empty(dir); err != nil {
					return err
				}
			}
			saved, err := timed(each.save, stream, nil)
			if err != nil {
				return err
			}
			save = save.better(saved)
			if each.load == nil {
				continue
			}
			loaded, err := timed(each.load, nil, stream)
			if err != nil {
				return err
			}
			load = load.better(loaded)
		}
		onDisk, err := used(dir)
		if err != nil {
			return err
		}
		save.print(kind+", "+each.name, stream, onDisk)
		if each.load != nil {
			load.print(kind+", "+each.name+", back", stream, 0)
		}
		if each.name == "store" {
			continue // the next way finds it
		}
		if err := empty(dir); err != nil {
			return err
		}
	}
	return nil
}

func empty(dir string) error {
	return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700))
}

// cost is what a command took.
type cost struct {
	wall, cpu time.Duration
	peak      int64 // resident, KiB
}

func (c cost) better(other cost) cost {
	if c.wall == 0 || other.wall < c.wall {
		return other
	}
	return c
}

func (c cost) print(name string, stream []byte, onDisk int64) {
	fmt.Printf("%-38s%8.2f%8.0f%8.2f%9d", name, c.wall.Seconds(), float64(len(stream))/1e6/c.wall.Seconds(), c.cpu.Seconds(), c.peak>>10)
	if onDisk > 0 {
		fmt.Printf("%7.1f%%", 100*float64(onDisk)/float64(len(stream)))
	}
	fmt.Println()
}

// timed runs a command that takes or gives a stream, and looks at what it gives.
func timed(command []string, send, expect []byte) (cost, error) {
	process := exec.Command(command[0], command[1:]...)
	process.Stderr = os.Stderr
	from, to, err := os.Pipe()
	if err != nil {
		return cost{}, err
	}
	_, _ = unix.FcntlInt(to.Fd(), unix.F_SETPIPE_SZ, 1<<20)
	defer from.Close()
	defer to.Close()
	began := time.Now()
	if send != nil {
		process.Stdin = from
	} else {
		process.Stdout = to
	}
	if err := process.Start(); err != nil {
		return cost{}, err
	}
	ended, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- watch(process.Process.Pid, ended) }()
	if send != nil {
		from.Close()
		_, err = to.Write(send)
		to.Close()
	} else {
		to.Close()
		err = equal(from, expect)
	}
	err = errors.Join(err, process.Wait())
	took := cost{wall: time.Since(began), cpu: process.ProcessState.UserTime() + process.ProcessState.SystemTime()}
	close(ended)
	took.peak = <-peak
	if err != nil {
		return cost{}, fmt.Errorf("%v: %w", command, err)
	}
	return took, nil
}

// watch returns the most resident memory that a process had until it ended, in
// KiB. What the kernel tells of an ended process counts what it was forked from.
func watch(pid int, ended <-chan struct{}) (peak int64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
			if _, rest, found := strings.Cut(string(status), "VmHWM:"); found {
				var now int64
				_, _ = fmt.Sscan(rest, &now)
				peak = max(peak, now)
			}
		}
		select {
		case <-ended:
			return peak
		case <-tick.C:
		}
	}
}

func equal(from io.Reader, expect []byte) error {
	piece := make([]byte, 1<<20)
	for {
		n, err := from.Read(piece)
		if n > len(expect) || !bytes.Equal(piece[:n], expect[:n]) {
			return errors.New("it gives back another stream")
		}
		expect = expect[n:]
		if errors.Is(err, io.EOF) && len(expect) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func used(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
