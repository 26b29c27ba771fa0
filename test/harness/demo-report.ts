import { styleText } from 'node:util';
import type { DemoCall, DemoFindings } from './demo-calls.ts';

type Format = Parameters<typeof styleText>[0];
type Paint = (format: Format, text: string) => string;

/** Colours text on a terminal, unless NO_COLOR is set (https://no-color.org). */
export function createPainter(stream: NodeJS.WriteStream): Paint {
  const coloured = stream.isTTY && (process.env.NO_COLOR ?? '') === '';
  return (format, text) => (coloured ? styleText(format, text) : text);
}

const WIDTHS = { backend: 7, via: 8, revision: 11, request: 18, status: 6, cache: 5, subject: 5 };

/** Shows the calls as a table, with a short introduction. */
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
    paint(status === 200 ? 'green' : 'red', String(status).padEnd(WIDTHS.status)),
    paint(cache === 'hit' ? 'green' : 'yellow', cache.padEnd(WIDTHS.cache)),
    receivedSubject,
    paint('cyan', receivedAudience),
  );
}

function row(...[backend, via, revision, request, status, cache, subject, audience]: RowCells): string {
  return [
    `  ${backend.padEnd(WIDTHS.backend)}`,
    via.padEnd(WIDTHS.via),
    revision.padEnd(WIDTHS.revision),
    request.padEnd(WIDTHS.request),
    status.padEnd(WIDTHS.status),
    cache.padEnd(WIDTHS.cache),
    subject.padEnd(WIDTHS.subject),
    audience,
  ].join('  ');
}

type RowCells = [
  backend: string,
  via: string,
  revision: string,
  request: string,
  status: string,
  cache: string,
  subject: string,
  audience: string,
];
