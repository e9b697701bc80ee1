package policyedit

import (
	"strings"
	"time"
)

// A budget is a line of the form: the resource, its hours, user or group, the window, which is a
// length of time or day, week or month, and the time zone, if there is one. Such as
//
//	nvidia.com/gpu 40 user 168h
//	cpu 2000 group month Europe/Berlin

// budgetLines are budgets as the form has them; false for what no line can say.
func budgetLines(value any) (lines string, readable bool) {
	list, is := value.([]any)
	if !is {
		return "", false
	}
	all := make([]string, 0, len(list))
	for _, each := range list {
		budget, is := each.(Spec)
		if !is {
			return "", false
		}
		window, _ := budget["window"].(Spec)
		words := []string{text(budget["resource"]), text(budget["hours"]), text(budget["per"])}
		for _, key := range []string{"rolling", "calendar", "timeZone"} {
			if window[key] != nil {
				words = append(words, text(window[key]))
			}
		}
		line := strings.Join(words, " ")
		back, problem := parseBudget(line)
		if problem != "" || !sameText(budget, back) || !sameText(window, back["window"].(Spec)) {
			return "", false
		}
		all = append(all, line)
	}
	return strings.Join(all, "\n"), true
}

// sameText reports whether a line says all that a budget or its window does.
func sameText(said, read Spec) bool {
	for key, value := range said {
		if _, nested := value.(Spec); !nested && text(value) != text(read[key]) {
			return false
		}
	}
	return len(said) == len(read)
}

func parseBudgets(entered string) (any, Problem) {
	var list []any
	for line := range strings.SplitSeq(entered, "\n") {
		budget, problem := parseBudget(line)
		if problem != "" {
			return nil, problem
		}
		list = append(list, budget)
	}
	return list, ""
}

func parseBudget(line string) (Spec, Problem) {
	words := strings.Fields(line)
	if len(words) < 4 || len(words) > 5 {
		return nil, ProblemBudget
	}
	window := Spec{}
	if _, err := time.ParseDuration(words[3]); err == nil {
		window["rolling"] = words[3]
	} else {
		window["calendar"] = words[3]
	}
	if len(words) == 5 {
		window["timeZone"] = words[4]
	}
	return Spec{"resource": words[0], "hours": words[1], "per": words[2], "window": window}, ""
}
