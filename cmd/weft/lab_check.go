package main

import "github.com/spf13/cobra"

func newLabCheck() *cobra.Command { return &cobra.Command{Use: "check"} }
func newLabGraph() *cobra.Command { return &cobra.Command{Use: "graph"} }
