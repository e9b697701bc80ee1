package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/spawner/homes/archive"
)

// tellEvery is how often an archive tells how far it is.
const tellEvery = 10 * time.Second

// archiveHomeCommand is what runs in the Pod that archives a home.
func archiveHomeCommand() *cobra.Command {
	var home, to, name, lastWords string
	command := &cobra.Command{
		Use:    "archive-home",
		Short:  "Write a directory into one file and read it back, in the Pod of a home whose user left",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			told := time.Now()
			result, err := archive.Write(cmd.Context(), home, to, name, func(c archive.Counts) {
				if now := time.Now(); now.Sub(told) >= tellEvery {
					told = now
					fmt.Fprintf(cmd.OutOrStdout(), "%d entries, %d bytes of files\n", c.Entries, c.Bytes)
				}
			})
			if err != nil {
				return errors.Join(err, writeLastWords(lastWords, err.Error()))
			}
			return tellArchive(cmd.OutOrStdout(), lastWords, result)
		},
	}
	flags := command.Flags()
	flags.StringVar(&home, "home", "", "the directory to be archived, which nobody writes to meanwhile")
	flags.StringVar(&to, "to", "", "the directory that the archive is written to")
	flags.StringVar(&name, "name", "", "the name of the archive without .tar.zst")
	flags.StringVar(&lastWords, "last-words", "/dev/termination-log", "a file of the kubelet's that what came of it is written to, if it is there")
	return command
}

func tellArchive(out io.Writer, lastWords string, result archive.Result) error {
	text, err := json.Marshal(result)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, string(text))
	return writeLastWords(lastWords, string(text))
}

// writeLastWords tells the kubelet, which passes it on, as far as it has a file for that.
func writeLastWords(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
