import { randomBytes, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import type { Secret } from 'kubernetes-types/core/v1.js';
import { stringify } from 'yaml';
import { getIn, isArray, isObject, type Json, setIn } from '../kubernetes/json.ts';
import { changeFiles, joinStreams, ManifestError } from '../kubernetes/manifest-stream.ts';
import type { Note } from '../kubernetes/workloads.ts';
import { printable } from '../observability/printable.ts';
import { createAuthority, exportKey, generateKeys, issueCertificate } from '../transport/certificates.ts';
import { type Command, EXIT, failed, UsageError } from './command.ts';
import { USAGES } from './usages.ts';

/** Creates the certificate of the webhook, or of another service. Prints the manifests with `caBundle` filled in, and the Secret after them. */
export const genCerts: Command = async (args) => {
  const options = USAGES['gen-certs'].flags;
  const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options });
  const bare = positionals.length === 0;
  if (bare && values.trust !== undefined) {
    throw new UsageError(
      '--trust adds to caBundle: name the file of the webhook configuration, or - for standard input',
    );
  }
  const days = Number(values.days);
  if (!Number.isInteger(days) || days < 1 || days > MAX_DAYS)
    throw new UsageError(`--days must be a number from 1 to ${MAX_DAYS}`);
  const service = { name: values.service, namespace: values.namespace };
  for (const [flag, name] of Object.entries({ ...service, secret: values.secret })) {
    if (!NAME.test(name))
      throw new UsageError(
        `--${flag === 'name' ? 'service' : flag} is "${name}": must be the name of a Kubernetes object`,
      );
  }
  try {
    const trusted = values.trust === undefined ? '' : await readTrusted(values.trust);
    const made = createCertificates(service, days);
    const secret = stringify(secretManifest(values.secret, service, made), { lineWidth: 0 });
    if (bare) {
      process.stdout.write(secret);
      return EXIT.done;
    }
    const bundle = made.ca + trusted;
    const { text, notes } = await changeFiles(positionals, () => (manifest) => setCaBundle(manifest, service, bundle));
    if (notes.length === 0) {
      throw new ManifestError(`no webhook calls service "${service.name}" in namespace "${service.namespace}"`);
    }
    for (const { object, reasons } of notes) console.error(printable(`${object}: ${reasons.join('; ')}`));
    // The Secret comes last: the API server then already trusts both the new certificate and the old one.
    process.stdout.write(joinStreams(text, secret));
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    return failed(printable(`cambist: ${error.message}`));
  }
};

const MAX_DAYS = 3650;

const NAME = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

function hostsOf({ name, namespace }: ServiceName): string[] {
  return [`${name}.${namespace}.svc`, `${name}.${namespace}`, `${name}.${namespace}.svc.cluster.local`];
}

/** Tolerates clocks that differ a little. */
const BACKDATED_MS = 5 * 60 * 1000;

const DAY_MS = 24 * 60 * 60 * 1000;

/** A certificate for a service, its key, and the authority, whose own key is discarded: it cannot sign another certificate. */
function createCertificates(service: ServiceName, days: number) {
  const hosts = hostsOf(service);
  const now = Date.now();
  const lifetime = { notBefore: new Date(now - BACKDATED_MS), notAfter: new Date(now + days * DAY_MS) };
  // A name of its own distinguishes an old and a new authority in one bundle.
  const authority = createAuthority({
    commonName: `${service.name} CA ${randomBytes(4).toString('hex')}`,
    ...lifetime,
  });
  const { publicKey, privateKey } = generateKeys();
  const content = { commonName: hosts[0] ?? '', hosts, purpose: 'server', publicKey, ...lifetime } as const;
  return { ca: authority.cert, cert: issueCertificate(authority, content), key: exportKey(privateKey) };
}

async function readTrusted(file: string): Promise<string> {
  try {
    const text = await readFile(file, 'utf8');
    new X509Certificate(text);
    return text.endsWith('\n') ? text : `${text}\n`;
  } catch {
    throw new ManifestError(`${file}: not a readable certificate in PEM`);
  }
}

function secretManifest(
  name: string,
  { name: service, namespace }: ServiceName,
  { ca, cert, key }: ReturnType<typeof createCertificates>,
) {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, namespace, labels: { 'app.kubernetes.io/name': service } },
    type: 'kubernetes.io/tls',
    stringData: { 'tls.crt': cert, 'tls.key': key, 'ca.crt': ca },
  } satisfies Secret;
}

interface ServiceName {
  readonly name: string;
  readonly namespace: string;
}

const KINDS: readonly (Json | undefined)[] = ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'];

/** Sets `caBundle` of every webhook that calls this Service. */
function setCaBundle(manifest: Json, service: ServiceName, bundle: string): { manifest: Json; notes: Note[] } {
  const webhooks = getIn(manifest, ['webhooks']);
  if (!isObject(manifest) || !KINDS.includes(manifest.kind) || !isArray(webhooks)) return { manifest, notes: [] };
  const caBundle = Buffer.from(bundle).toString('base64');
  const changed = webhooks.map((webhook) => {
    const { name, namespace } = service;
    const target = getIn(webhook, ['clientConfig', 'service']);
    const calls = getIn(target, ['name']) === name && getIn(target, ['namespace']) === namespace;
    return calls ? setIn(webhook, ['clientConfig', 'caBundle'], caBundle) : webhook;
  });
  const found = changed.some((webhook, index) => webhook !== webhooks[index]);
  const object = `${String(manifest.kind).toLowerCase()}/${String(getIn(manifest, ['metadata', 'name']))}`;
  const notes: Note[] = found ? [{ object, outcome: 'injected', reasons: ['caBundle set'] }] : [];
  return { manifest: { ...manifest, webhooks: changed }, notes };
}
