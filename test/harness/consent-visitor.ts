import { Agent, type Dispatcher, request } from 'undici';

interface Page {
  readonly url: string;
  /** For a POST. */
  readonly form?: URLSearchParams;
}

/** Pages of a sign-in and a consent, each of which redirects. */
const MAX_PAGES = 20;

/**
 * Visits a consent site like a user without a browser: follows redirects, keeps cookies, signs in as `user`, and consents.
 * @param ca PEM of the site
 * @returns the text of the last page
 */
export async function consentAt(url: string, user: string, ca: string): Promise<string> {
  const dispatcher = new Agent({ connect: { ca } });
  const cookies = new Map<string, string>();
  let next: Page = { url };
  try {
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const { url: address, form }: Page = next;
      const { statusCode, headers, body }: Dispatcher.ResponseData = await request(address, {
        method: form === undefined ? 'GET' : 'POST',
        headers: {
          cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; '),
          ...(form !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
        },
        ...(form !== undefined && { body: form.toString() }),
        dispatcher,
      });
      for (const cookie of [headers['set-cookie'] ?? []].flat()) {
        const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
        if (value === '') cookies.delete(name);
        else cookies.set(name, value);
      }
      const text = await body.text();
      const location: unknown = headers.location;
      if (typeof location === 'string') {
        next = { url: new URL(location, address).href };
      } else if (statusCode === 200 && /<form/.test(text)) {
        next = { url: actionOf(text, address), form: fieldsOf(text, user) };
      } else {
        return text;
      }
    }
  } finally {
    await dispatcher.close();
  }
  throw new Error(`the consent site has more than ${MAX_PAGES} pages`);
}

function actionOf(page: string, address: string): string {
  return new URL(/action="([^"]+)"/.exec(page)?.[1] ?? '', address).href;
}

/** oidc-provider's page for sign-in asks for a name and any password. Its page for consent has one button. */
function fieldsOf(page: string, user: string): URLSearchParams {
  const prompt = /name="prompt" value="([^"]+)"/.exec(page)?.[1] ?? '';
  return new URLSearchParams({ prompt, ...(prompt === 'login' && { login: user, password: 'any' }) });
}
