import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';
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

async function startPythonProgram(program: string): Promise<Driver> {
  const directory = await cachedInstall('python-sdk', [here('python/requirements.txt')], async (folder) => {
    await runTool('python3', ['-m', 'venv', 'venv'], folder);
    await runTool(join(folder, 'venv/bin/pip'), ['install', '--quiet', '--no-deps', '-r', 'requirements.txt'], folder);
  });
  return startDriver(join(directory, 'venv/bin/python'), [here(`python/${program}`)]);
}

const COPY_DEPENDENCIES = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';

/** @throws Error if Java or Maven is missing, or the repository is unreachable */
export async function startJavaDriver(): Promise<Driver> {
  const directory = await cachedInstall('java-sdk', [here('java/pom.xml')], (folder) =>
    // -C: a wrong checksum is an error instead of a warning.
    runTool('mvn', ['-q', '-B', '-C', COPY_DEPENDENCIES, `-DoutputDirectory=${folder}`], folder),
  );
  return startDriver('java', ['-XX:TieredStopAtLevel=1', '-cp', join(directory, '*'), here('java/Driver.java')]);
}

/** @throws Error if Go is missing or the module proxy is unreachable */
export async function startGoDriver(): Promise<Driver> {
  const sources = ['go/go.mod', 'go/go.sum', 'go/main.go'].map(here);
  const directory = await cachedInstall('go-sdk', sources, (folder) =>
    runTool('go', ['build', '-o', 'driver', '.'], folder),
  );
  return startDriver(join(directory, 'driver'));
}
