import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall, installJava, installNpm, installPython, runTool } from '../../harness/cached-install.ts';
import { runProgram } from '../../harness/run-command.ts';

/** Passes values of baggage through the propagator of an SDK, as an agent receives and sends them. */
export type PassBaggage = (values: readonly string[]) => Promise<readonly string[]>;

const here = (name: string) => fileURLToPath(new URL(`sdks/${name}`, import.meta.url));

/** The oldest versions that must keep the handle. Go changed its parser several times. */
export const SDKS: Readonly<Record<string, () => Promise<PassBaggage>>> = {
  'Go 1.24': async () => program(join(await installGo('1.24.0'), 'baggage')),
  'Go 1.38': async () => program(join(await installGo('1.38.0'), 'baggage')),
  'JavaScript 1.30': async () =>
    program(process.execPath, here('baggage.mjs'), await installNpm('baggage-js', here(''))),
  'Python 1.20': async () => {
    const python = await installPython('baggage-python', here('requirements.txt'));
    return program(join(python, 'python'), here('baggage.py'));
  },
  'Java 1.10': async () =>
    program('java', '-cp', await installJava('baggage-java', here('pom.xml')), here('Baggage.java')),
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
