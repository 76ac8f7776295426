package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/util"
)

// A question is one line of input: a query over modules, and the input document.
// With strict, an error in a built-in function is an error; else it makes the expression undefined.
type question struct {
	Modules map[string]string `json:"modules"`
	Query   string            `json:"query"`
	Input   json.RawMessage   `json:"input"`
	Strict  bool              `json:"strict"`
}

// An answer is one line of output: what the query gives, sorted, or why it could not be evaluated.
type answer struct {
	Result []any  `json:"result"`
	Error  string `json:"error,omitempty"`
}

// MarshalJSON writes the result, or the error alone.
func (a answer) MarshalJSON() ([]byte, error) {
	if a.Error != "" {
		return json.Marshal(map[string]string{"error": a.Error})
	}
	return json.Marshal(map[string][]any{"result": a.Result})
}

// A judge keeps what it has prepared, by modules and query.
type judge struct {
	prepared map[[sha256.Size]byte]rego.PreparedEvalQuery
}

func judgeLines(ctx context.Context, in io.Reader, out io.Writer) error {
	j := judge{prepared: map[[sha256.Size]byte]rego.PreparedEvalQuery{}}
	reader, writer := bufio.NewReader(in), bufio.NewWriter(out)
	encoder := json.NewEncoder(writer)
	encoder.SetEscapeHTML(false)
	for {
		line, err := reader.ReadBytes('\n')
		if len(line) > 1 {
			if err := encoder.Encode(j.answer(ctx, line)); err != nil {
				return err
			}
			if err := writer.Flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (j *judge) answer(ctx context.Context, line []byte) answer {
	result, err := j.evaluate(ctx, line)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Result: result}
}

func (j *judge) evaluate(ctx context.Context, line []byte) ([]any, error) {
	var q question
	if err := json.Unmarshal(line, &q); err != nil {
		return nil, fmt.Errorf("not a question: %w", err)
	}
	query, err := j.prepare(ctx, q)
	if err != nil {
		return nil, err
	}
	var input any
	if len(q.Input) > 0 {
		if err := util.UnmarshalJSON(q.Input, &input); err != nil {
			return nil, err
		}
	}
	results, err := query.Eval(ctx, rego.EvalInput(input))
	if err != nil {
		return nil, err
	}
	return sorted(results)
}

func (j *judge) prepare(ctx context.Context, q question) (rego.PreparedEvalQuery, error) {
	text, err := json.Marshal([]any{q.Modules, q.Query, q.Strict})
	if err != nil {
		return rego.PreparedEvalQuery{}, err
	}
	key := sha256.Sum256(text)
	if query, ok := j.prepared[key]; ok {
		return query, nil
	}
	options := append(modules(q.Modules), rego.Query(q.Query), rego.StrictBuiltinErrors(q.Strict))
	query, err := rego.New(options...).PrepareForEval(ctx)
	if err == nil {
		j.prepared[key] = query
	}
	return query, err
}

func modules(sources map[string]string) []func(*rego.Rego) {
	var options []func(*rego.Rego)
	for name, source := range sources {
		options = append(options, rego.Module(name, source))
	}
	return options
}

// sorted returns the members of the query's value (the value itself if it is no set or array; nothing if it is
// undefined) in the order of their JSON texts.
func sorted(results rego.ResultSet) ([]any, error) {
	type member struct {
		value any
		text  string
	}
	var members []member
	for _, result := range results {
		for _, expression := range result.Expressions {
			values, ok := expression.Value.([]any)
			if !ok {
				values = []any{expression.Value}
			}
			for _, value := range values {
				text, err := json.Marshal(value)
				if err != nil {
					return nil, err
				}
				members = append(members, member{value, string(text)})
			}
		}
	}
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.text, b.text) })
	values := make([]any, len(members))
	for i, member := range members {
		values[i] = member.value
	}
	return values, nil
}
