package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/backup"
)

// mostSecretText bounds files with keys and passphrases.
const mostSecretText = 64 << 10

func backupCommand() *cobra.Command {
	var output, passphrase string
	var recipients []string
	var want backup.Wanted
	command := &cobra.Command{
		Use:   "backup -o FILE",
		Short: "Write the objects and the ledger of a release into one archive",
		Long: `Write the objects and the ledger of a release into one archive. Homes are not in it.

With --secrets the Secrets of the chart and those that objects name are in it, too, sealed
with age for the recipients. Without them what is kept of parked kernels cannot be read again.`,
		Example: "  elastichub backup -n jupyterhub -o jupyterhub.tar.gz --secrets --recipient age1…",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sealFor, err := recipientsOf(recipients, passphrase)
			if err != nil {
				return err
			}
			switch {
			case output == "":
				return errors.New("-o names no file")
			case want.Secrets && len(sealFor) == 0:
				return errors.New("--secrets needs --recipient or --passphrase-file: Secrets are not written in clear")
			case !want.Secrets && (len(sealFor) > 0 || len(want.More) > 0):
				return errors.New("--recipient, --passphrase-file and --secret say how Secrets are written: they need --secrets")
			}
			c, namespace, err := backupClient()
			if err != nil {
				return err
			}
			if len(want.Namespaces) == 0 {
				want.Namespaces = []string{namespace}
			}
			return writeBackup(cmd.Context(), c, want, output, sealFor, cmd.OutOrStdout())
		},
	}
	flags := command.Flags()
	flags.StringVarP(&output, "output", "o", "", "file to write")
	flags.StringArrayVarP(&want.Namespaces, "namespace", "n", nil, "namespace of the release, and then others that it looks after; otherwise the kubeconfig's")
	flags.BoolVar(&want.Secrets, "secrets", false, "the Secrets, too, sealed")
	flags.StringArrayVar(&want.More, "secret", nil, "name of another Secret in the first namespace, as one that existingSecret names; may be repeated")
	flags.StringArrayVar(&recipients, "recipient", nil, "public key of age whose owner can open the Secrets; may be repeated")
	flags.StringVar(&passphrase, "passphrase-file", "", "file with the passphrase that opens the Secrets, instead of a key")
	return command
}

func restoreCommand() *cobra.Command {
	var options backup.Options
	var identity, passphrase string
	command := &cobra.Command{
		Use:   "restore FILE",
		Short: "Bring back what elastichub backup has written",
		Long: `Bring back what elastichub backup has written, into the namespaces that it was written of.

What is there stays as it is, and restoring may be repeated. What does not come back is listed.
The exit status is 0, 3 if the cluster refused some of the objects, and 1 if it went no further.`,
		Example: "  elastichub restore jupyterhub.tar.gz --identity key.txt --dry-run",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			identities, err := identitiesOf(identity, passphrase)
			if err != nil {
				return err
			}
			from, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer from.Close()
			contents, err := backup.Read(from, identities...)
			if err != nil {
				return err
			}
			c, _, err := backupClient()
			if err != nil {
				return err
			}
			report, err := backup.Restore(cmd.Context(), c, contents, options)
			told := writeRestored(cmd.OutOrStdout(), contents, report, options)
			if err != nil { // it is told, and what was done before
				return err
			}
			return told
		},
	}
	flags := command.Flags()
	flags.BoolVar(&options.DryRun, "dry-run", false, "say what would become of each object, and write nothing")
	flags.BoolVar(&options.Overwrite, "overwrite", false, "replace objects that are there with those of the archive")
	flags.StringVar(&identity, "identity", "", "file with the private key of age that opens the Secrets")
	flags.StringVar(&passphrase, "passphrase-file", "", "file with the passphrase that opens the Secrets")
	return command
}

// backupClient is a client of the cluster that the kubeconfig names, and its namespace.
func backupClient() (client.Client, string, error) {
	var namespace string
	config, err := clusterConfig("", &namespace)
	if err != nil {
		return nil, "", fmt.Errorf("kubernetes: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, "", err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, "", fmt.Errorf("kubernetes: %w", err)
	}
	return c, namespace, nil
}

func passphraseIn(file string) (string, error) {
	text, err := readBounded(file, os.Stdin, mostSecretText)
	if err != nil {
		return "", err
	}
	passphrase := strings.TrimRight(string(text), "\r\n")
	if passphrase == "" {
		return "", errors.New(file + " has no passphrase")
	}
	return passphrase, nil
}

func recipientsOf(named []string, passphraseFile string) ([]age.Recipient, error) {
	var all []age.Recipient
	for _, text := range named {
		found, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("--recipient %q: %w", text, err)
		}
		all = append(all, found...)
	}
	if passphraseFile == "" {
		return all, nil
	}
	if len(all) > 0 {
		return nil, errors.New("--recipient and --passphrase-file exclude each other")
	}
	passphrase, err := passphraseIn(passphraseFile)
	if err != nil {
		return nil, err
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, fmt.Errorf("--passphrase-file: %w", err)
	}
	return []age.Recipient{recipient}, nil
}

func identitiesOf(file, passphraseFile string) ([]age.Identity, error) {
	switch {
	case file != "" && passphraseFile != "":
		return nil, errors.New("--identity and --passphrase-file exclude each other")
	case file != "":
		text, err := readBounded(file, os.Stdin, mostSecretText)
		if err != nil {
			return nil, err
		}
		found, err := age.ParseIdentities(strings.NewReader(string(text)))
		if err != nil {
			return nil, fmt.Errorf("--identity: %s has no private key of age", file) // an error may show a part of one
		}
		return found, nil
	case passphraseFile != "":
		passphrase, err := passphraseIn(passphraseFile)
		if err != nil {
			return nil, err
		}
		identity, err := age.NewScryptIdentity(passphrase)
		if err != nil {
			return nil, fmt.Errorf("--passphrase-file: %w", err)
		}
		return []age.Identity{identity}, nil
	}
	return nil, nil
}

// writeBackup writes the archive beside its file first: a former one stays until it is whole.
func writeBackup(ctx context.Context, c client.Reader, want backup.Wanted, output string, recipients []age.Recipient, out io.Writer) error {
	contents, err := backup.Collect(ctx, c, want)
	if err != nil {
		return err
	}
	draft, err := os.CreateTemp(filepath.Dir(output), ".backup-*") // readable by its owner alone
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	err = backup.Write(draft, contents, buildVersion(), time.Now(), recipients...)
	if err = errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		return err
	}
	if err := os.Rename(draft.Name(), output); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %s. Homes are not in it.\n", output, contents.Manifest.Summary())
	return err
}

func writeRestored(out io.Writer, contents *backup.Contents, report backup.Report, options backup.Options) error {
	dry := ""
	if options.DryRun {
		dry = " (dry run)"
	}
	refused := 0
	for _, o := range report.Objects {
		name, why := o.Name, ""
		if o.Namespace != "" {
			name = o.Namespace + "/" + o.Name
		}
		if o.Why != "" {
			why = ": " + o.Why
		}
		if o.Outcome == backup.Refused {
			refused++
		}
		fmt.Fprintf(out, "%s %s %s%s%s\n", o.Kind, name, o.Outcome, dry, why)
	}
	for _, text := range report.Lost {
		fmt.Fprintln(out, text)
	}
	_, err := fmt.Fprintf(out, "The archive is of %s, by elastichub %s.\n", contents.Manifest.Time.Format(time.RFC3339), contents.Manifest.Version)
	if err == nil && refused > 0 {
		return exitIncomplete
	}
	return err
}
