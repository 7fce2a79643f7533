package programs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"headgate.dev/tools/arch"
)

// Installed says where the programs are that the check installs, and this tree's sources beside them.
type Installed struct {
	// NPM is a copy of tools/e2e/npm in which npm ci ran, TypeScript one of tools/e2e/clients/typescript.
	NPM, TypeScript string
	// Python has the packages of tools/e2e/clients/python and tools/e2e/servers/python, PythonV1 those of tools/e2e/clients/python-v1.
	Python, PythonV1 string
	// Source is tools/e2e.
	Source string
}

// Find reads where they are from the environment. What is missing is an error: a check that installed nothing must not pass.
func Find() (Installed, error) {
	root, err := arch.Root()
	if err != nil {
		return Installed{}, err
	}
	found := Installed{Source: filepath.Join(root, "tools", "e2e")}
	for _, one := range []struct {
		to             *string
		variable, what string
	}{
		{&found.NPM, "HEADGATE_TEST_NPM", "a copy of tools/e2e/npm in which npm ci ran"},
		{&found.TypeScript, "HEADGATE_TEST_TYPESCRIPT", "a copy of tools/e2e/clients/typescript in which npm ci ran"},
		{&found.Python, "HEADGATE_TEST_PYTHON", "a python with the requirements.txt of tools/e2e/clients/python and tools/e2e/servers/python installed"},
		{&found.PythonV1, "HEADGATE_TEST_PYTHON_V1", "a python with tools/e2e/clients/python-v1/requirements.txt installed"},
	} {
		if *one.to = os.Getenv(one.variable); *one.to == "" {
			return Installed{}, fmt.Errorf("%s is not set: it must name %s", one.variable, one.what)
		}
	}
	// The packages are the copies', what was written here is this tree's: a copy that was made before a change must not be what is tested.
	for _, file := range [][2]string{{filepath.Join("clients", "typescript", "client.mjs"), filepath.Join(found.TypeScript, "client.mjs")},
		{filepath.Join("clients", "typescript", "package-lock.json"), filepath.Join(found.TypeScript, "package-lock.json")},
		{filepath.Join("npm", "package-lock.json"), filepath.Join(found.NPM, "package-lock.json")}} {
		ours, err := os.ReadFile(filepath.Join(found.Source, file[0]))
		if err != nil {
			return Installed{}, err
		}
		copied, err := os.ReadFile(file[1])
		if err != nil || !bytes.Equal(ours, copied) {
			return Installed{}, fmt.Errorf("%s is not this tree's tools/e2e/%s: copy it again and run npm ci there (%w)", file[1], file[0], err)
		}
	}
	return found, nil
}

// SDKs are the clients of every SDK and era.
func (i Installed) SDKs() []Client {
	all := []Client{GoSDK(Legacy), GoSDK(Modern), MCPGo(Legacy), MCPGo(Modern)}
	for _, mode := range []string{"legacy", Modern} {
		all = append(all, Python(i.Python, filepath.Join(i.Source, "clients", "python", "client.py"), mode))
	}
	all = append(all, PythonV1(i.PythonV1, filepath.Join(i.Source, "clients", "python-v1", "client.py")))
	for _, sdk := range []string{"v1", "v2-legacy", "v2-modern"} {
		all = append(all, TypeScript(i.TypeScript, sdk))
	}
	return all
}

// Inspectors are the inspector's command line in both eras.
func (i Installed) Inspectors() []Client {
	return []Client{Inspector(i.NPM, "legacy"), Inspector(i.NPM, "modern")}
}
