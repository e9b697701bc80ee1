package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/nbformat"
	"github.com/elastichub/elastichub/runner"
)

// Exit codes of run and logs, as docs/run.md lists them.
const (
	exitCellFailed  exitCode = 1
	exitUsage       exitCode = 2
	exitServer      exitCode = 3
	exitKernel      exitCode = 4
	exitInterrupted exitCode = 130
)

// serverFlags say which notebook server, and by whose token.
type serverFlags struct{ address, tokenFile string }

func (f *serverFlags) add(command *cobra.Command) {
	command.Flags().StringVar(&f.address, "server", "", "address of the Hub, or of one server below it; otherwise what JUPYTERHUB_API_URL names")
	command.Flags().StringVar(&f.tokenFile, "token-file", "", "file with a token of the Hub; otherwise JUPYTERHUB_API_TOKEN has one")
	command.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
}

// usage is a fault of the command line or of a file.
func usage(cmd *cobra.Command, err error) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "elastichub:", err)
	return exitUsage
}

func (f *serverFlags) find(ctx context.Context, cmd *cobra.Command) (*runner.Server, error) {
	address, token := f.address, os.Getenv("JUPYTERHUB_API_TOKEN")
	if address == "" {
		address = os.Getenv("JUPYTERHUB_API_URL")
	}
	if address == "" {
		return nil, usage(cmd, errors.New("--server: name the Hub, such as https://hub.example.org"))
	}
	if f.tokenFile != "" {
		var err error
		if token, err = readSecret(f.tokenFile); err != nil {
			return nil, usage(cmd, fmt.Errorf("--token-file: %w", err))
		}
	}
	if token == "" {
		return nil, usage(cmd, errors.New("JUPYTERHUB_API_TOKEN: set it to a token of the Hub, or name a --token-file"))
	}
	server, err := runner.Find(ctx, address, token)
	if err != nil {
		return nil, failed(cmd, err)
	}
	return server, nil
}

// failed says what was in the way, and which exit code that is.
func failed(cmd *cobra.Command, err error) error {
	var exit exitCode
	if errors.As(err, &exit) {
		return exit
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "elastichub:", err)
	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, runner.ErrKernel):
		return exitKernel
	case errors.Is(err, runner.ErrNoRun):
		return exitUsage
	default:
		return exitServer
	}
}

// codeOf is the exit status of a run that has come to an end.
func codeOf(outcome runner.Outcome) error {
	switch outcome {
	case runner.CellFailed:
		return exitCellFailed
	case runner.Interrupted:
		return exitInterrupted
	case runner.Succeeded, runner.Unfinished:
	}
	return nil
}

func screenOf(cmd *cobra.Command) *runner.Screen {
	return &runner.Screen{Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr(), Colors: isTerminal(cmd.ErrOrStderr())}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// runFlags are those of run beside the server's.
type runFlags struct {
	server         serverFlags
	kernel, output string
	start, detach  bool
}

func runCommand() *cobra.Command {
	flags := runFlags{}
	command := &cobra.Command{
		Use:   "run FILE",
		Short: "Run a notebook or a program on a kernel of your notebook server, from anywhere",
		Long: "Run a notebook, or a program in cells (# %%), on a kernel of your notebook server, through the Hub.\n" +
			"What it prints is shown as it comes. The first ctrl-C interrupts the kernel, the second ends it.\n\n" +
			"Exit status: 0 all cells ran, 1 a cell failed, 2 a file or the command line, 3 the server or the Hub,\n" +
			"4 the kernel, 130 interrupted.",
		Example: "  elastichub run --server https://hub.example.org --kernel python-gpu train.ipynb --output done.ipynb",
		Args:    oneFile,
		RunE:    func(cmd *cobra.Command, args []string) error { return flags.run(cmd, args[0]) },
	}
	flags.server.add(command)
	command.Flags().StringVar(&flags.kernel, "kernel", "", "name of the kernelspec; otherwise the notebook's, or the server's default")
	command.Flags().StringVarP(&flags.output, "output", "o", "", "file for the notebook with what was printed; it may be FILE")
	command.Flags().BoolVar(&flags.start, "start", false, "start the notebook server if it does not run")
	command.Flags().BoolVar(&flags.detach, "detach", false, "do not wait: print an id for elastichub logs")
	return command
}

func oneFile(cmd *cobra.Command, args []string) error {
	if err := cobra.ExactArgs(1)(cmd, args); err != nil {
		return usage(cmd, err)
	}
	return nil
}

func (f *runFlags) run(cmd *cobra.Command, file string) error {
	notebook, err := readNotebook(file)
	if err != nil {
		return usage(cmd, err)
	}
	if f.detach && f.output != "" {
		return usage(cmd, errors.New("--output: a run that nobody waits for has its notebook on the server"))
	}
	options := runner.Options{Kernel: f.kernel, Name: filepath.Base(file), Screen: screenOf(cmd)}
	if options.Kernel == "" {
		options.Kernel = notebook.KernelName()
	}
	ctx, keyboard := listen(cmd.Context())
	defer keyboard.stop()
	options.Interrupts = keyboard.interrupts
	server, err := f.server.find(ctx, cmd)
	if err != nil {
		return err
	}
	if err := server.Running(ctx); err != nil {
		switch {
		case errors.Is(err, runner.ErrNotRunning) && f.start:
			err = server.Start(ctx, func(message string) { options.Screen.Say("%s", message) })
		case errors.Is(err, runner.ErrNotRunning):
			err = fmt.Errorf("%w; --start starts it", err)
		}
		if err != nil {
			return failed(cmd, err)
		}
	}
	if f.detach {
		id, err := server.Detach(ctx, notebook, options)
		if err != nil {
			return failed(cmd, err)
		}
		fmt.Fprintln(cmd.OutOrStdout(), id)
		options.Screen.Say("elastichub logs %s --follow", id)
		return nil
	}
	keyboard.kernel.Store(true)
	outcome, err := server.Run(ctx, notebook, options)
	if f.output != "" {
		if fault := writeNotebook(f.output, notebook); fault != nil {
			return usage(cmd, errors.Join(err, fault))
		}
	}
	if err != nil {
		return failed(cmd, err)
	}
	return codeOf(outcome)
}

func readNotebook(file string) (*nbformat.Notebook, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	switch filepath.Ext(file) {
	case ".ipynb":
		notebook, err := nbformat.Read(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return notebook, nil
	case ".py":
		return nbformat.FromScript(string(text), "python"), nil
	default:
		return nil, fmt.Errorf("%s: is neither .ipynb nor .py", file)
	}
}

// writeNotebook writes to a name beside it first: the file is whole, or as it was.
func writeNotebook(name string, notebook *nbformat.Notebook) error {
	mode := os.FileMode(0o644)
	if info, err := os.Stat(name); err == nil {
		if !info.Mode().IsRegular() { // a device, a pipe
			return os.WriteFile(name, notebook.Bytes(), 0)
		}
		mode = info.Mode().Perm()
	}
	beside := name + ".elastichub"
	if err := os.WriteFile(beside, notebook.Bytes(), mode); err != nil {
		return err
	}
	return os.Rename(beside, name)
}

// keyboard is what a person, or who ends the process, wants.
type keyboard struct {
	// interrupts are for the kernel.
	interrupts chan struct{}
	// kernel: there is one to be interrupted.
	kernel atomic.Bool
	stop   func()
}

// listen gives the first ctrl-C to the kernel, if there is one, and ends the context at the
// next one, at a request to end and where the terminal goes away.
func listen(parent context.Context) (context.Context, *keyboard) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent)) // the process's ends at the first
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	ended := make(chan struct{})
	k := &keyboard{interrupts: make(chan struct{}, 1), stop: func() {
		signal.Stop(signals)
		cancel()
		<-ended
	}}
	go func() {
		defer close(ended)
		for first := true; ; first = false {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				if s != syscall.SIGINT || !first || !k.kernel.Load() {
					cancel()
					return
				}
				k.interrupts <- struct{}{}
			}
		}
	}()
	return ctx, k
}

func logsCommand() *cobra.Command {
	var flags serverFlags
	var follow bool
	var output string
	command := &cobra.Command{
		Use:   "logs RUN",
		Short: "Show what a run has printed that nobody waits for",
		Long: "Show what a run of elastichub run --detach has printed.\n\n" +
			"Exit status: 0 all cells ran, or it goes on; 1 a cell failed; 2, 3, 4, 130 as of run.",
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			server, err := flags.find(cmd.Context(), cmd)
			if err != nil {
				return err
			}
			outcome, err := server.Logs(cmd.Context(), args[0], follow, screenOf(cmd))
			if err != nil {
				return failed(cmd, err)
			}
			if output != "" {
				notebook, err := server.Document(cmd.Context(), args[0])
				if err != nil {
					return failed(cmd, err)
				}
				if err := writeNotebook(output, notebook); err != nil {
					return usage(cmd, err)
				}
			}
			if outcome == runner.Unfinished {
				fmt.Fprintln(cmd.ErrOrStderr(), "it goes on; --follow waits for its end")
			}
			return codeOf(outcome)
		},
	}
	flags.add(command)
	command.Flags().BoolVarP(&follow, "follow", "f", false, "go on until it is over")
	command.Flags().StringVarP(&output, "output", "o", "", "file for its notebook")
	return command
}
