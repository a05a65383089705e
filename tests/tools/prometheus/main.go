// Command prometheus reads a file of rules from standard input as Prometheus does, expressions and templates included, and says
// what is wrong. promtool does the same, with ten times as much to build.
package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	rules, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	_, problems := rulefmt.Parse(rules, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.Default())
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, problem)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}
