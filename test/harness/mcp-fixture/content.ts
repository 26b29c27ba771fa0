import type { CallToolResult, ContentBlock } from '@modelcontextprotocol/server';

/** A PNG image of one pixel. */
export const IMAGE = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==';
/** A WAV file without samples. */
export const AUDIO = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=';

export const WATCHED_URI = 'test://watched-resource';

export function text(value: string): CallToolResult {
  return { content: [{ type: 'text', text: value }] };
}

export function content(...blocks: ContentBlock[]): CallToolResult {
  return { content: blocks };
}

export function image(): ContentBlock {
  return { type: 'image', data: IMAGE, mimeType: 'image/png' };
}

export function embedded(uri: string, mimeType: string, value: string): ContentBlock {
  return { type: 'resource', resource: { uri, mimeType, text: value } };
}
