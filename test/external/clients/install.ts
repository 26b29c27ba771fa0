import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';
import { installPythonPackages } from '../../harness/python-packages.ts';
import { type Driver, startDriver } from './driver.ts';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** @throws Error if Python is missing or the package index is unreachable */
export function startPythonDriver(): Promise<Driver> {
  return startPythonProgram('driver.py');
}

/** Clients on FastMCP. @throws Error if Python is missing or the package index is unreachable */
export function startFastMcpDriver(): Promise<Driver> {
  return startPythonProgram('fastmcp_driver.py');
}

/** Clients on the Python SDK 1.x, which langchain-mcp-adapters, mcp-use and kagent still use. */
export function startPythonV1Driver(): Promise<Driver> {
  return startPythonProgram('v1_driver.py', 'requirements-v1.txt');
}

async function startPythonProgram(program: string, requirements?: string): Promise<Driver> {
  return startDriver(join(await installPythonSdk(requirements), 'venv/bin/python'), [here(`python/${program}`)]);
}

export function installPythonSdk(requirements = 'requirements.txt'): Promise<string> {
  return cachedInstall('python-sdk', [here(`python/${requirements}`)], async (folder) => {
    await installPythonPackages(folder, requirements);
  });
}

const COPY_DEPENDENCIES = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';

/** @throws Error if Java or Maven is missing, or the repository is unreachable */
export async function startJavaDriver(): Promise<Driver> {
  const classes = join(await installJavaSdk(), '*');
  return startDriver('java', ['-XX:TieredStopAtLevel=1', '-cp', classes, here('java/Driver.java')]);
}

export function installJavaSdk(): Promise<string> {
  return cachedInstall('java-sdk', [here('java/pom.xml')], (folder) =>
    // -C: a wrong checksum is an error instead of a warning.
    runTool('mvn', ['-q', '-B', '-C', COPY_DEPENDENCIES, `-DoutputDirectory=${folder}`], folder),
  );
}

/** @throws Error if Go is missing or the module proxy is unreachable */
export async function startGoDriver(): Promise<Driver> {
  return startDriver(join(await installGoSdk(), 'driver'));
}

export function installGoSdk(): Promise<string> {
  const sources = ['go/go.mod', 'go/go.sum', 'go/main.go'].map(here);
  return cachedInstall('go-sdk', sources, (folder) => runTool('go', ['build', '-o', 'driver', '.'], folder));
}
