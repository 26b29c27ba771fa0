import { styleText } from 'node:util';
import type { DemoFindings } from './demo-calls.ts';

type Format = Parameters<typeof styleText>[0];

/** Colours on a terminal, and not where NO_COLOR says so (https://no-color.org). */
export function createPainter(stream: NodeJS.WriteStream): (format: Format, text: string) => string {
  const coloured = stream.isTTY && (process.env.NO_COLOR ?? '') === '';
  return (format, text) => (coloured ? styleText(format, text) : text);
}

/** What happened, for a person who has ten seconds. */
export function describeFindings(findings: DemoFindings, paint: (format: Format, text: string) => string): string {
  const { callerAudience, calls, exchanges, straight } = findings;
  const rows = calls.map(({ backend, what, cache, receivedSubject, receivedAudience }) =>
    [
      `  ${backend.padEnd(8)}`,
      what.padEnd(19),
      paint(cache === 'hit' ? 'green' : 'yellow', cache.padEnd(7)),
      `${receivedSubject.padEnd(6)} ${paint('cyan', receivedAudience)}`,
    ].join(' '),
  );
  return [
    paint('bold', "cambist: the caller's token goes in, a token for exactly one MCP backend comes out."),
    '',
    `The caller, alice, holds one token.  aud: ${paint('cyan', callerAudience)}`,
    'Her agent calls two MCP backends through cambist with it:',
    '',
    paint(
      'dim',
      `  ${'backend'.padEnd(8)} ${'request'.padEnd(19)} ${'cache'.padEnd(7)} sub    aud of the token that the backend got`,
    ),
    ...rows,
    '',
    `${exchanges} token exchanges for ${calls.length} requests; alice's own token reached no backend.`,
    `Sent straight to ${straight.backend}, it is refused: ${paint('red', `${straight.status}`)} ${straight.challenge.replace(/,.*/, '')}`,
    '',
  ].join('\n');
}
