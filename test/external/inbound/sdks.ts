import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';
import { installPythonPackages } from '../../harness/python-packages.ts';
import { runProgram } from '../../harness/run-command.ts';

/** Passes values of baggage through the propagator of an SDK, as an agent receives and sends them. */
export type PassBaggage = (values: readonly string[]) => Promise<readonly string[]>;

const here = (name: string) => fileURLToPath(new URL(`sdks/${name}`, import.meta.url));

/** The oldest versions that must keep the handle. Go changed its parser several times. */
export const SDKS: Readonly<Record<string, () => Promise<PassBaggage>>> = {
  'Go 1.24': async () => program(join(await installGo('1.24.0'), 'baggage')),
  'Go 1.38': async () => program(join(await installGo('1.38.0'), 'baggage')),
  'JavaScript 1.30': async () => program(process.execPath, here('baggage.mjs'), await installJavaScript()),
  'Python 1.20': async () => program(join(await installPython(), 'venv/bin/python'), here('baggage.py')),
  'Java 1.10': async () => program('java', '-cp', join(await installJava(), '*'), here('Baggage.java')),
};

export async function installBaggageSdks(): Promise<void> {
  for (const install of Object.values(SDKS)) await install();
}

function installGo(version: string): Promise<string> {
  const sources = ['go.mod', 'go.sum', 'main.go'].map(here);
  return cachedInstall(`baggage-go-${version}`, sources, async (folder) => {
    await runTool('go', ['mod', 'edit', `-require=go.opentelemetry.io/otel@v${version}`], folder);
    await runTool('go', ['mod', 'edit', '-droprequire=go.opentelemetry.io/otel/trace'], folder);
    await runTool('go', ['build', '-mod=mod', '-o', 'baggage', '.'], folder);
  });
}

function installJavaScript(): Promise<string> {
  return cachedInstall('baggage-js', ['package.json', 'package-lock.json'].map(here), (folder) =>
    runTool('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', folder], folder),
  );
}

function installPython(): Promise<string> {
  return cachedInstall('baggage-python', [here('requirements.txt')], (folder) =>
    installPythonPackages(folder, 'requirements.txt'),
  );
}

const COPY_DEPENDENCIES = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';

function installJava(): Promise<string> {
  return cachedInstall('baggage-java', [here('pom.xml')], (folder) =>
    runTool('mvn', ['-q', '-B', '-C', COPY_DEPENDENCIES, `-DoutputDirectory=${folder}`], folder),
  );
}

function program(command: string, ...args: string[]): PassBaggage {
  return async (values) => {
    const input = values.map((value) => `${JSON.stringify(value)}\n`).join('');
    const { code, stdout, stderr } = await runProgram(command, args, { input });
    if (code !== 0) throw new Error(`"${command}" failed with exit code ${code}:\n${stderr}`);
    return stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as string);
  };
}
