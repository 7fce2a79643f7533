package cli

import (
	"slices"
	"strings"
)

// lineDiff shows two texts as the lines that went (-), came (+) and stayed, by their longest common subsequence.
func lineDiff(before, after string) string {
	a, b := lines(before), lines(after)
	lengths := make([][]int, len(a)+1)
	for i := range lengths {
		lengths[i] = make([]int, len(b)+1)
	}
	for i, v := range slices.Backward(a) {
		for j := len(b) - 1; j >= 0; j-- {
			if v == b[j] {
				lengths[i][j] = lengths[i+1][j+1] + 1
			} else {
				lengths[i][j] = max(lengths[i+1][j], lengths[i][j+1])
			}
		}
	}
	var out strings.Builder
	write := func(mark, line string) { out.WriteString(mark + plain(line) + "\n") }
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			write("  ", a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && lengths[i+1][j] >= lengths[i][j+1]:
			write("- ", a[i])
			i++
		default:
			write("+ ", b[j])
			j++
		}
	}
	return out.String()
}

func lines(text string) []string {
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
