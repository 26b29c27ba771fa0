/** HTML in which every inserted text is escaped. */
export interface Markup {
  readonly text: string;
}

type Part = string | number | undefined | Markup | readonly Markup[];

/** A template of HTML. Inserted texts are escaped for elements and for quoted attributes. */
export function html(parts: TemplateStringsArray, ...values: readonly Part[]): Markup {
  const text = parts.map((part, index) => part + rendered(values[index])).join('');
  return { text };
}

function rendered(part: Part): string {
  if (part === undefined) return '';
  if (typeof part === 'string' || typeof part === 'number') return escaped(String(part));
  return 'text' in part ? part.text : part.map(({ text }) => text).join('');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (char) => ENTITIES[char] ?? '');
}
