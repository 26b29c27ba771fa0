import { type JsonObject, objectsOf, textOf } from './json.ts';
import type { InterceptFacts } from './pod-config.ts';
import type { PodLayout } from './pod-layout.ts';
import { quote } from './quote.ts';

/** The APIs of models, by the variable with the key. Their clients know the URL themselves. */
const MODEL_APIS: Readonly<Record<string, string>> = {
  ANTHROPIC_API_KEY: 'api.anthropic.com',
  DEEPSEEK_API_KEY: 'api.deepseek.com',
  GEMINI_API_KEY: 'generativelanguage.googleapis.com',
  GOOGLE_API_KEY: 'generativelanguage.googleapis.com',
  GROQ_API_KEY: 'api.groq.com',
  MISTRAL_API_KEY: 'api.mistral.ai',
  OPENAI_API_KEY: 'api.openai.com',
  OPENROUTER_API_KEY: 'openrouter.ai',
  XAI_API_KEY: 'api.x.ai',
};

/** An https URL up to its path. */
const HTTPS = /https:\/\/(?:[^\s/?#@"'`<>]{1,512}@)?([\w.-]{1,254}(?::\d{1,5})?)/g;

/** A pod's author chooses how many URLs its variables contain. */
const MAX_ENTRIES = 10;

/**
 * Says which entries in `forward_proxy.connect` the agent needs, as far as its variables tell.
 * @param facts undefined: the config is unknown
 */
export function connectNotes(template: JsonObject, layout: PodLayout, facts: InterceptFacts | undefined): string[] {
  const found = new Set<string>();
  layout.changeContainers(template, 'env', (_container, env) => {
    for (const entry of destinationsIn(objectsOf(env))) {
      if (found.size < MAX_ENTRIES && facts?.covers(entry) !== true) found.add(entry);
    }
    return env;
  });
  const entries = [...found].map(quote).join(', ');
  if (entries !== '') {
    return [`forward_proxy.connect needs ${entries}, unless a route has the host: the agent's variables name it`];
  }
  return facts?.hasConnect !== true
    ? ["https calls to hosts of no route, such as the model's API, need an entry in forward_proxy.connect"]
    : [];
}

function destinationsIn(env: readonly JsonObject[]): string[] {
  const names = new Set(env.map(({ name }) => textOf(name) ?? ''));
  return env.flatMap(({ name, value }) => {
    const variable = textOf(name) ?? '';
    const urls = [...(textOf(value) ?? '').matchAll(HTTPS)].flatMap(([, authority]) => authority ?? []);
    const api = Object.hasOwn(MODEL_APIS, variable) ? MODEL_APIS[variable] : undefined;
    const isDefault = api !== undefined && !names.has(variable.replace('_API_KEY', '_BASE_URL'));
    return [...urls, ...(isDefault ? [api] : [])].map((one) => (/:\d+$/.test(one) ? one : `${one}:443`));
  });
}
