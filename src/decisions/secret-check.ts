import { timingSafeEqual } from 'node:crypto';
import type { Decisions } from '../config/decisions.ts';
import type { Counts } from '../observability/counts.ts';
import type { DecisionProtocol } from '../observability/decision-counts.ts';
import type { Logger } from '../observability/logger.ts';
import { currentCredential } from '../secrets/credential.ts';
import { oncePerSecret, type Secret } from '../secrets/secret.ts';
import { SECRET_HEADER } from './report.ts';

/** A client without the secret learns nothing, not even which routes there are. */
export function createSecretCheck(first: Decisions, current: () => Decisions, logger: Logger, counts: Counts) {
  return (name: 'http' | 'grpc', protocol: DecisionProtocol, sent: readonly string[]): boolean | Promise<boolean> => {
    // The listener stays open until a restart, so a reload does not take its secret away.
    const secret = current()[name]?.secret ?? first[name]?.secret;
    if (secret === undefined) return true;
    const refuse = (why: string, error?: unknown): false => {
      logger.warn(error === undefined ? {} : { err: error }, `refused a decision: ${why}`);
      counts.decided(protocol);
      return false;
    };
    const compare = (expected: Secret): boolean =>
      isSecret(sent, expected) || refuse(`${SECRET_HEADER} is missing or is not the configured secret`);
    const unreadable = (error: unknown): false => refuse(`the secret of decisions.${name} cannot be read`, error);
    try {
      const reading = currentCredential(secret, `secret of decisions.${name}`);
      return reading instanceof Promise ? reading.then(compare, unreadable) : compare(reading);
    } catch (error) {
      return unreadable(error);
    }
  };
}

const bytesOf = oncePerSecret((secret) => Buffer.from(secret.trim()));

/** Takes the same time for every text of the right length. A digest would hide the length too, at a tenth of the CPU of a decision. */
function isSecret([sent = '', ...more]: readonly string[], secret: Secret): boolean {
  const expected = bytesOf(secret);
  const bytes = Buffer.from(sent, 'latin1');
  // A file of white space alone has no secret.
  if (more.length > 0 || expected.length === 0 || bytes.length !== expected.length) return false;
  return timingSafeEqual(bytes, expected);
}
