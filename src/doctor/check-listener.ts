import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { ListenerFiles } from '../config/addresses.ts';
import { splitCertificates } from '../intercept/system-roots.ts';
import { readFiles } from '../listeners/tls.ts';
import { attempt, credentialFinding } from './check-server.ts';
import { type FindingCode, type Found, fine, problem, shortAscii, warning } from './finding.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

/** The last part of a lifetime, in which renewal is late. Certificates live for hours or for years. */
const LATE = 0.1;

/**
 * Checks the TLS files of a listener: its certificate and key, and the issuers of client certificates.
 * @param at path of the listener in the config
 */
export async function checkListener(tls: ListenerFiles, at: string, nowMs: number, found: Found): Promise<void> {
  const { failure, value } = await attempt(() => readFiles(tls, at));
  if (failure !== undefined) found(credentialFinding(failure));
  if (value === undefined) return;
  checkCertificate(value, `${at}.tls`, nowMs, found);
  if (value.ca !== undefined) checkClientCa(value.ca, `${at}.tls.client_ca`, nowMs, found);
}

function checkCertificate(
  { cert, key }: { readonly cert: string; readonly key: string },
  at: string,
  nowMs: number,
  found: Found,
): void {
  const own = parsed(() => new X509Certificate(cert));
  const privateKey = parsed(() => createPrivateKey(key));
  if (own === undefined || privateKey === undefined) {
    const what =
      own === undefined ? `${at}.certificate is not a certificate` : `${at}.private_key is not a private key`;
    found(problem('listener_files_invalid', what, { fix: 'write it as PEM; a key must not be encrypted' }));
  } else if (!own.checkPrivateKey(privateKey)) {
    const fix = 'name the key from which this certificate was requested; in a chain, the own certificate comes first';
    found(problem('listener_files_invalid', `${at}.private_key does not belong to ${at}.certificate`, { fix }));
  } else {
    checkValidity(own, nowMs, found);
  }
}

function checkValidity(own: X509Certificate, nowMs: number, found: Found): void {
  const [fromMs, untilMs] = [Date.parse(own.validFrom), Date.parse(own.validTo)];
  const [code, what] = outsideValidity(own, nowMs) ?? [];
  if (code !== undefined) {
    found(problem(code, `the certificate ${what}`, { why: 'clients refuse it', fix: RENEW }));
    return;
  }
  const left = untilMs - nowMs;
  const names = shortAscii(own.subjectAltName ?? 'no name, so that clients refuse it');
  const shown = `the certificate is for ${names}; it is valid until ${own.validTo}, for ${timeLeft(left)}`;
  const isLate = left < LATE * (untilMs - fromMs);
  const why = 'its renewal is late';
  found(isLate ? warning('listener_certificate', shown, { why, fix: RENEW }) : fine('listener_certificate', shown));
}

const RENEW = 'renew it: cambist reads the file again when it changes; if its dates are correct, check the clock';

function timeLeft(ms: number): string {
  return ms < 2 * DAY_MS ? `${Math.floor(ms / (60 * 60 * 1000))} hours` : `${Math.floor(ms / DAY_MS)} days`;
}

function outsideValidity(
  { validFrom, validTo }: X509Certificate,
  nowMs: number,
): [code: FindingCode, what: string] | undefined {
  if (Date.parse(validTo) <= nowMs) return ['certificate_expired', `expired on ${validTo}`];
  if (Date.parse(validFrom) > nowMs) return ['certificate_not_yet_valid', `is not valid before ${validFrom}`];
  return undefined;
}

function checkClientCa(pem: string, at: string, nowMs: number, found: Found): void {
  const issuers = splitCertificates(pem).map((each) => parsed(() => new X509Certificate(each)));
  const why =
    issuers.length === 0 ? 'it has no certificate' : issuers.map((each) => whyNoIssuer(each, nowMs)).find(Boolean);
  if (why !== undefined) {
    const fix = 'write the PEM of the CA that issues the certificates of clients into the file';
    found(problem('client_ca_invalid', `some clients cannot connect by ${at}`, { why, fix }));
    return;
  }
  const names = issuers.map((each) => `"${shortAscii(each?.subject.replaceAll('\n', ', ') ?? '')}"`).join(', ');
  found(fine('client_ca_read', `certificates of clients must be issued by ${names}`));
}

/** Explains why a certificate cannot be the issuer of valid ones. @returns undefined if it can */
function whyNoIssuer(issuer: X509Certificate | undefined, nowMs: number): string | undefined {
  if (issuer === undefined) return 'a certificate in it is not PEM';
  const name = `"${shortAscii(issuer.subject.replaceAll('\n', ', '))}"`;
  if (!issuer.ca) return `${name} is not a certificate authority`;
  const outside = outsideValidity(issuer, nowMs);
  return outside && `${name} ${outside[1]}`;
}

function parsed<Value>(parse: () => Value): Value | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}
