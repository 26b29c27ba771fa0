import { Readable } from 'node:stream';
import { mock } from 'node:test';
import { type Command, EXIT, UsageError } from '../../src/commands/command.ts';
import type { CommandResult } from './run-command.ts';

/** Calls a command in this process, which takes a tenth of the time of the built program. Calls must not overlap. */
export async function callCommand(command: Command, args: readonly string[], input = ''): Promise<CommandResult> {
  let [stdout, stderr] = ['', ''];
  const write = (text: string): void => {
    stdout += text;
  };
  const { stdin: ownInput, stdout: ownOutput } = process;
  const replaceStreams = (streams: object): void => {
    for (const [name, value] of Object.entries(streams)) {
      Object.defineProperty(process, name, { value, configurable: true, enumerable: true });
    }
  };
  const consoles = [
    mock.method(console, 'log', (text: string) => write(`${text}\n`)),
    mock.method(console, 'error', (text: string) => {
      stderr += `${text}\n`;
    }),
  ];
  replaceStreams({ stdin: Readable.from([Buffer.from(input)]), stdout: { write } });
  try {
    return { code: await command(args), stdout, stderr };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return { code: EXIT.usage, stdout, stderr: `${error.message}\n` };
  } finally {
    replaceStreams({ stdin: ownInput, stdout: ownOutput });
    for (const { mock } of consoles) mock.restore();
  }
}
