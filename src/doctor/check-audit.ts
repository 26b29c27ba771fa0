import { constants, statfs } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import type { Audit } from '../config/audit.ts';
import { isAccessible } from '../config/sources.ts';
import { readPseudonymKey } from '../secrets/credential.ts';
import { credentialFinding, failureOf } from './check-server.ts';
import { type Finding, type Found, fine, problem } from './finding.ts';

/** The reader of a socket may take this long to accept a connection. */
const CONNECT_TIMEOUT_MS = 2000;

/** Checks the key and the destination of the audit trail. Writes no record. */
export async function checkAudit({ to, pseudonymize }: Audit, found: Found): Promise<void> {
  if (pseudonymize !== undefined) {
    const failure = await failureOf(() => readPseudonymKey(pseudonymize.key));
    if (failure !== undefined) found(credentialFinding(failure));
  }
  switch (to.kind) {
    case 'file':
      found(await checkFile(to.path));
      break;
    case 'unix':
      found(await checkSocket(to.path));
      break;
    default:
      found(
        fine(
          'audit_reached',
          `records go to ${to.kind === 'otlp' ? 'the OpenTelemetry collector' : 'standard output'}`,
        ),
      );
  }
}

async function checkFile(path: string): Promise<Finding> {
  // The file may be a link to another file system.
  const place = (await isAccessible(path, constants.F_OK)) ? path : dirname(path);
  const isWritable = await isAccessible(place, constants.W_OK);
  if (isWritable && (await isFull(place))) {
    return problem('audit_unreachable', `records cannot be written to "${path}": the disk is full`, {
      fix: 'free space on it: delete or truncate old files of the audit trail',
    });
  }
  if (isWritable) return fine('audit_reached', `records can be written to "${path}"`);
  return problem('audit_unreachable', `records cannot be written to "${path}"`, {
    why: 'the folder is missing, or this user may not write there',
    fix: 'create or mount the folder of audit.to.file, writable for the user of cambist',
  });
}

/** File systems without blocks, such as /proc, have no free ones either. */
async function isFull(path: string): Promise<boolean> {
  const { blocks, bavail } = await statfs(path);
  return blocks > 0 && bavail === 0;
}

function checkSocket(path: string): Promise<Finding> {
  return new Promise((resolve) => {
    const socket = connect({ path, timeout: CONNECT_TIMEOUT_MS });
    const settle = (finding: Finding): void => {
      socket.destroy();
      resolve(finding);
    };
    const refused = (why: string): void =>
      settle(
        problem('audit_unreachable', `the Unix socket "${path}" of audit.to accepts no connection`, {
          why,
          fix: 'start the program that reads the records, and mount its socket where cambist runs',
        }),
      );
    socket.once('connect', () => settle(fine('audit_reached', `the Unix socket "${path}" accepts records`)));
    socket.once('timeout', () => refused('it did not respond in time'));
    socket.once('error', (error: NodeJS.ErrnoException) => refused(error.code ?? 'the connection failed'));
  });
}
