import { parseArgs } from 'node:util';
import { printable } from '../observability/printable.ts';
import { type RevocationReport, signRevocation } from '../signals/operator.ts';
import { otherServer, requestAdmin } from './admin-request.ts';
import { type Command, configFile, EXIT, failed, messageOf, UsageError } from './command.ts';
import { loadOrReport } from './report-problems.ts';
import { USAGES } from './usages.ts';

const KNOWN_BY = {
  all: 'All replicas know.',
  this: 'No other replica knows: without cache.shared, run this at each of them.',
  this_so_far: 'Other replicas learn of it as soon as the shared cache works again.',
} as const satisfies Record<RevocationReport['known_by'], string>;

/** Ends the tokens of a user at a running cambist. */
export const revoke: Command = async (args) => {
  const { values } = parseArgs({ args: [...args], options: USAGES.revoke.flags });
  const { issuer, subject, session } = values;
  if (!issuer || !subject || session === '')
    throw new UsageError('revoke needs --issuer and --subject, with a value each');
  const loaded = await loadOrReport(configFile(values.config));
  if (loaded === undefined) return EXIT.failed;
  const { admin, signals } = loaded.config;
  try {
    if (signals?.revoke === undefined)
      throw new Error('the config has no signals.revoke: set its secret, and restart cambist');
    const { status, body } = await requestAdmin(admin, {
      path: '/revoke',
      method: 'POST',
      headers: { 'content-type': 'application/logout+jwt' },
      body: await signRevocation(signals.revoke, { issuer, subject, session }),
    });
    const { error, known_by: knownBy = '' } = Object(body) as { readonly error?: unknown; readonly known_by?: string };
    if (status === 404) throw new Error('the running cambist has no signals.revoke: restart it with this config');
    if (status !== 200) throw new Error(typeof error === 'string' ? printable(error) : `status ${status}`);
    if (!isKnown(knownBy)) throw otherServer(admin);
    const whose = session === undefined ? '' : ' of this session';
    console.log(`The tokens${whose} that the user had until now are refused. ${KNOWN_BY[knownBy]}`);
    return EXIT.done;
  } catch (error) {
    return failed(`cambist revoke: ${messageOf(error)}`);
  }
};

function isKnown(knownBy: string): knownBy is RevocationReport['known_by'] {
  return Object.hasOwn(KNOWN_BY, knownBy);
}
