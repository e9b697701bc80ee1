package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// Config of an agent. Begin with DefaultConfig or ConfigFromEnv.
type Config struct {
	Secret     keys.Secret // of this run of the kernel, with which its Pod was made
	SecretFile string      // where it is read again; empty: it stays as it is
	KernelID   string      // for logs
	KernelName string      // kernel_name in the connection file
	Listen     string      // address of the TLS server
	Socket     string      // where run-kernel is met

	IdleTimeout   time.Duration // 0: the kernel is never parked
	CullConnected bool          // park also while a session is connected
	InterruptMode protocol.InterruptMode
	GPUs          int // that the kernel holds; said in the notice of parking
	// ParkNotice is how long before it is parked the kernel announces it; 0: not
	// at all. An idle time that is no longer is not announced.
	ParkNotice time.Duration
	// BusyCPU is how many cores' worth of computing that nobody has asked for
	// counts as work; 0: none does.
	BusyCPU float64
	// BusyGPU is the same for the busiest of the kernel's GPUs, in percent of it.
	BusyGPU float64
	// ProbePeriod is that of the kubelet's question whether the kernel is to live.
	// The agent stays until it has not been asked for two periods. 0: nobody asks.
	ProbePeriod time.Duration
	// ContainerTimeout is how long the kernel's container may take to begin, its
	// image included.
	ContainerTimeout time.Duration
	// OrphanAfter is after how long without any contact an idle kernel ends,
	// whatever its idle time-out says.
	OrphanAfter time.Duration

	// What the kernel may publish per second, over a few seconds; 0: any amount.
	// Output beyond it is left out, and the cell says so.
	IOPubMessages, IOPubBytes int

	// Keep has the state of the kernel kept while it is parked; nil: it is lost.
	Keep *Keep
	// KeepLater is what is known of Keep where the rest is told once, before anybody
	// speaks to the kernel; nil: nothing is told.
	KeepLater *Keep

	TerminationLog string // file that gets the Result; empty for none

	StartTimeout  time.Duration // for the first answer to kernel_info, also after a restart
	ShutdownGrace time.Duration // from shutdown_request to SIGKILL
	ReplayBytes   int           // kept per session until acknowledged
	MaxMessage    int           // bytes of one message, either way
	MaxSessions   int           // the one gone longest makes room for a new one

	Log *slog.Logger // of the agent itself
	// Request is that which asked for the run, for the log; empty: it is not known.
	Request string
}

// mostBusyCPU is more cores than any machine has.
const mostBusyCPU = 4096

// DefaultConfig is complete but for the secret and the kernel's names.
func DefaultConfig() Config {
	return Config{
		Listen:           fmt.Sprintf(":%d", protocol.Port),
		Socket:           protocol.ControlSocket,
		CullConnected:    true,
		InterruptMode:    protocol.InterruptAuto,
		BusyCPU:          0.05,
		BusyGPU:          5,
		ProbePeriod:      protocol.LivePeriod,
		ContainerTimeout: 30 * time.Minute,
		OrphanAfter:      24 * time.Hour,
		TerminationLog:   "/dev/termination-log",
		StartTimeout:     2 * time.Minute,
		ShutdownGrace:    5 * time.Second,
		ReplayBytes:      32 << 20,
		MaxMessage:       64 << 20,
		MaxSessions:      64,
		Log:              slog.Default(),
	}
}

// ConfigFromEnv is DefaultConfig with what the environment says. It reads the
// key file. The error tells every malformed value; Validate is the caller's.
func ConfigFromEnv(lookup func(string) (string, bool)) (Config, error) {
	c := DefaultConfig()
	var faults []error
	each := func(name string, set func(value string) error) {
		if value, ok := lookup(name); ok {
			if err := set(value); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	text := func(target *string) func(string) error {
		return func(value string) error { *target = value; return nil }
	}
	if _, ok := lookup(protocol.EnvKeyFile); !ok {
		faults = append(faults, fmt.Errorf("%s: required", protocol.EnvKeyFile))
	}
	each(protocol.EnvKeyFile, func(path string) error {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c.SecretFile = path
		c.Secret, err = keys.Parse(string(raw))
		return err
	})
	each(protocol.EnvKernelID, text(&c.KernelID))
	each(protocol.EnvKernelName, text(&c.KernelName))
	each(protocol.EnvRequest, text(&c.Request))
	seconds := func(target *time.Duration) func(string) error {
		return func(value string) error {
			n, err := strconv.ParseUint(value, 10, 31)
			*target = time.Duration(n) * time.Second
			return err
		}
	}
	count := func(target *int) func(string) error {
		return func(value string) error {
			n, err := strconv.ParseUint(value, 10, 31)
			*target = int(n)
			return err
		}
	}
	each(protocol.EnvIdleTimeout, seconds(&c.IdleTimeout))
	each(protocol.EnvParkNotice, seconds(&c.ParkNotice))
	each(protocol.EnvIOPubMessages, count(&c.IOPubMessages))
	each(protocol.EnvIOPubBytes, count(&c.IOPubBytes))
	each(protocol.EnvCullConnected, func(value string) (err error) {
		c.CullConnected, err = strconv.ParseBool(value)
		return err
	})
	each(protocol.EnvInterruptMode, func(value string) error { c.InterruptMode = protocol.InterruptMode(value); return nil })
	each(protocol.EnvGPUs, count(&c.GPUs))
	each(protocol.EnvBusyCPU, func(value string) (err error) {
		c.BusyCPU, err = strconv.ParseFloat(value, 64)
		return err
	})
	each(protocol.EnvBusyGPU, func(value string) (err error) {
		c.BusyGPU, err = strconv.ParseFloat(value, 64)
		return err
	})
	each(protocol.EnvTerminationLog, text(&c.TerminationLog))
	each(protocol.EnvListen, text(&c.Listen))
	each(protocol.EnvSocket, text(&c.Socket))
	each(protocol.EnvKeepKeyFile, func(path string) error {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found, err := keys.ParseKeep(string(raw))
		if err != nil {
			return err
		}
		c.Keep = newKeep()
		for _, key := range found {
			c.Keep.Keys = append(c.Keep.Keys, store.Key(key))
		}
		return nil
	})
	each(protocol.EnvKeepLater, func(value string) error {
		later, err := strconv.ParseBool(value)
		if later {
			c.KeepLater = newKeep()
		}
		return err
	})
	if c.Keep != nil {
		each(protocol.EnvKeepKernel, text(&c.Keep.Kernel))
		each(protocol.EnvKeepIdle, seconds(&c.Keep.Short))
		each(protocol.EnvKeepTTL, seconds(&c.Keep.TTL))
		number := func(target *int64) func(string) error {
			return func(value string) (err error) {
				*target, err = strconv.ParseInt(value, 10, 64)
				return err
			}
		}
		each(protocol.EnvKeepRun, number(&c.Keep.Run))
		each(protocol.EnvKeepLoads, number(&c.Keep.Loads))
		each(protocol.EnvKeepMaxBytes, number(&c.Keep.MaxBytes))
		each(protocol.EnvKeepYieldWhole, func(value string) error {
			whole, err := strconv.ParseBool(value)
			c.Keep.YieldAny = !whole
			return err
		})
	}
	return c, errors.Join(faults...)
}

// leftFree is how many percent of a user's volume no state may take, or leftFreeAtMost
// bytes: a tenth of one that many share is more than anybody misses.
const (
	leftFree       = 10
	leftFreeAtMost = 2 << 30
)

// Validate returns all faults at once.
func (c *Config) Validate() error {
	var faults []error
	check := func(ok bool, field, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("agent: %s: %s", field, fmt.Sprintf(format, args...)))
		}
	}
	check(c.Secret != keys.Secret{}, "Secret", "required")
	check(c.KernelID != "", "KernelID", "required")
	check(c.KernelName != "", "KernelName", "required")
	_, _, err := net.SplitHostPort(c.Listen)
	check(err == nil, "Listen", "%q is no host:port", c.Listen)
	check(c.IdleTimeout >= 0, "IdleTimeout", "%v is negative", c.IdleTimeout)
	modes := []protocol.InterruptMode{protocol.InterruptAuto, protocol.InterruptMessage, protocol.InterruptSignal}
	check(slices.Contains(modes, c.InterruptMode), "InterruptMode", "%q is none of %q", c.InterruptMode, modes)
	check(c.GPUs >= 0, "GPUs", "%d is negative", c.GPUs)
	check(c.ParkNotice >= 0, "ParkNotice", "%v is negative", c.ParkNotice)
	check(c.Socket != "", "Socket", "required")
	check(c.BusyCPU >= 0 && c.BusyCPU <= mostBusyCPU, "BusyCPU", "%v is not between 0 and %d", c.BusyCPU, mostBusyCPU)
	check(c.BusyGPU >= 0 && c.BusyGPU <= 100, "BusyGPU", "%v is not between 0 and 100", c.BusyGPU)
	check(c.ProbePeriod >= 0, "ProbePeriod", "%v is negative", c.ProbePeriod)
	check(c.ContainerTimeout > 0, "ContainerTimeout", "%v is not positive", c.ContainerTimeout)
	check(c.OrphanAfter > 0, "OrphanAfter", "%v is not positive", c.OrphanAfter)
	check(c.IOPubMessages >= 0, "IOPubMessages", "%d is negative", c.IOPubMessages)
	check(c.IOPubBytes >= 0, "IOPubBytes", "%d is negative", c.IOPubBytes)
	check(c.StartTimeout > 0, "StartTimeout", "%v is not positive", c.StartTimeout)
	check(c.ShutdownGrace > 0, "ShutdownGrace", "%v is not positive", c.ShutdownGrace)
	check(c.ReplayBytes > 0, "ReplayBytes", "%d is not positive", c.ReplayBytes)
	check(c.MaxMessage > 0, "MaxMessage", "%d is not positive", c.MaxMessage)
	check(c.MaxSessions > 0, "MaxSessions", "%d is not positive", c.MaxSessions)
	check(c.Log != nil, "Log", "required")
	check(c.Keep == nil || c.KeepLater == nil, "KeepLater", "not together with Keep")
	if c.Keep != nil {
		faults = append(faults, c.Keep.validate()...)
	}
	return errors.Join(faults...)
}

// newKeep is what holds for every kernel whose state is kept.
func newKeep() *Keep {
	return &Keep{Files: protocol.KeepDirectory, YieldAny: true, FreePercent: leftFree, FreeAtMost: leftFreeAtMost}
}

func (c *Keep) validate() (faults []error) {
	check := func(ok bool, field, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("agent: Keep.%s: %s", field, fmt.Sprintf(format, args...)))
		}
	}
	check(c.Kernel != "", "Kernel", "required")
	check(len(c.Keys) > 0, "Keys", "required")
	check(c.Run > 0, "Run", "%d is not positive", c.Run)
	check(c.Loads < max(c.Run, 1), "Loads", "%d is not before %d", c.Loads, c.Run)
	check(c.Files != "", "Files", "required")
	check(c.Short >= 0, "Short", "%v is negative", c.Short)
	check(c.TTL > 0, "TTL", "%v is not positive", c.TTL)
	check(c.MaxBytes >= 0, "MaxBytes", "%d is negative", c.MaxBytes)
	return faults
}
