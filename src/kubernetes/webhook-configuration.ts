import { getIn, isArray, isObject, type Json, setIn } from './json.ts';
import type { Note } from './workloads.ts';

export interface ServiceName {
  readonly name: string;
  readonly namespace: string;
}

const KINDS: readonly (Json | undefined)[] = ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'];

/** Sets `caBundle` of every webhook that calls this Service. */
export function setCaBundle(manifest: Json, service: ServiceName, bundle: string): { manifest: Json; notes: Note[] } {
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
