package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api"
	"github.com/weft-sdn/weft/controller/store"
)

func init() { commands = append(commands, newUserCommand) }

func newUserCommand(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "user", Short: "Who may use the API: the file of \"weft controller --users\"",
		Long: `Keep the file of those who may use the API over TCP, which "weft controller --users FILE"
reads, and reads again when it changes. It has a hash of each user's token.

An admin may do everything, a reader only read; a reader sees all of every tenant. Over
a Unix socket nobody is asked: its permissions decide. Agents of switches have their
own credentials and are no users.`,
		Example: `  weft user add alice --role admin --file /etc/weft/users.yaml > alice.token
  weft user list --file /etc/weft/users.yaml
  WEFT_ACCESS_TOKEN=$(cat alice.token) weft get nodes`}
	c.PersistentFlags().StringVar(&file, "file", "users.yaml", "the file of users")
	c.AddCommand(newUserAdd(a, &file), newUserList(a, &file), newUserDelete(a, &file))
	return c
}

// usersOf reads the file; one that is not there yet is empty.
func usersOf(file string) ([]api.User, error) {
	users, err := api.ReadUsers(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return users, err
}

func newUserAdd(a *app, file *string) *cobra.Command {
	var role string
	var ttl time.Duration
	c := &cobra.Command{Use: "add NAME", Short: "Let somebody use the API; prints the token, which is kept nowhere", Args: cobra.ExactArgs(1),
		Example: `  weft user add alice --role admin > alice.token
  weft user add grafana --role reader --ttl 8760h > grafana.token`,
		RunE: func(_ *cobra.Command, args []string) error {
			users, err := usersOf(*file)
			if err != nil {
				return err
			}
			if role != api.RoleAdmin && role != api.RoleReader {
				return usageError{fmt.Errorf("--role %q is not known: use %s or %s", role, api.RoleAdmin, api.RoleReader)}
			}
			if slices.ContainsFunc(users, func(u api.User) bool { return u.Name == args[0] }) {
				return fmt.Errorf("%s has %s already: weft user delete %s first, for another token", *file, args[0], args[0])
			}
			token := rand.Text() + rand.Text() // 260 bits
			u := api.User{Name: args[0], Role: role, Hash: store.HashSecret(token)}
			if ttl > 0 {
				u.Until = time.Now().Add(ttl).UTC().Truncate(time.Second)
			}
			if err := api.WriteUsers(*file, append(users, u)); err != nil {
				return err
			}
			fmt.Fprintln(a.out, token)
			return nil
		}}
	c.Flags().StringVar(&role, "role", api.RoleReader, "admin or reader")
	c.Flags().DurationVar(&ttl, "ttl", 0, "how long the token is good; for ever by default")
	return c
}

func newUserList(a *app, file *string) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the users", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		users, err := usersOf(*file)
		if err != nil {
			return err
		}
		t := table{header: []string{"NAME", "ROLE", "TOKEN ENDS"}}
		for _, u := range users {
			until := "never"
			if !u.Until.IsZero() {
				until = u.Until.Local().Format(time.DateTime)
			}
			t.add(u.Name, u.Role, until)
		}
		return t.print(a.out, true)
	}}
}

func newUserDelete(a *app, file *string) *cobra.Command {
	return &cobra.Command{Use: "delete NAME", Short: "Refuse a user from now on", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		users, err := usersOf(*file)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(users), func(u api.User) bool { return u.Name == args[0] })
		if len(left) == len(users) {
			return fmt.Errorf("%s has no user %s", *file, args[0])
		}
		if err := api.WriteUsers(*file, left); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s is refused from now on.\n", args[0])
		return nil
	}}
}
