import { styleText } from 'node:util';
import type { DemoCall, DemoFindings } from './demo-calls.ts';

type Format = Parameters<typeof styleText>[0];
type Paint = (format: Format, text: string) => string;

export function createPainter(stream: NodeJS.WriteStream): Paint {
  const coloured = stream.isTTY && (process.env.NO_COLOR ?? '') === '';
  return (format, text) => (coloured ? styleText(format, text) : text);
}

/** Widths of the columns before the last. */
const WIDTHS = [7, 8, 11, 18, 6, 5, 5] as const;

export function describeFindings({ algorithm, callerAudience, calls, exchanges }: DemoFindings, paint: Paint): string {
  const forwarded = calls.filter(({ isThroughCambist }) => isThroughCambist);
  return [
    paint('bold', "cambist: the caller's token goes in, a token for exactly one MCP backend comes out."),
    '',
    `The caller, alice, has one token, signed with ${algorithm}. Its audience (aud) is: ${paint('cyan', callerAudience)}`,
    'With this token, her agent calls a backend directly. Then it calls two backends through cambist:',
    '',
    paint(
      'dim',
      row('backend', 'via', 'MCP', 'request', 'status', 'cache', 'sub', 'aud of the token that the backend received'),
    ),
    ...calls.map((call) => describeCall(call, paint)),
    '',
    `${exchanges} token exchanges for ${forwarded.length} requests through cambist. None of them carried alice's own token.`,
    '',
  ].join('\n');
}

function describeCall(call: DemoCall, paint: Paint): string {
  const { backend, isThroughCambist, revision, request, status, cache, receivedSubject, receivedAudience } = call;
  return row(
    backend,
    isThroughCambist ? 'cambist' : 'directly',
    revision,
    request,
    paint(status === 200 ? 'green' : 'red', String(status).padEnd(WIDTHS[4])),
    paint(cache === 'hit' ? 'green' : 'yellow', cache.padEnd(WIDTHS[5])),
    receivedSubject,
    paint('cyan', receivedAudience),
  );
}

function row(...cells: string[]): string {
  return `  ${cells.map((cell, index) => cell.padEnd(WIDTHS[index] ?? 0)).join('  ')}`;
}
