// Requests to the server that change something.

/** @returns {string} token that proves the request comes from a page of ours */
export function csrfToken() {
  return document.querySelector('meta[name="csrf-token"]')?.content ?? "";
}

/**
 * Send a form's worth of values.
 *
 * @param {string} address
 * @param {FormData | URLSearchParams | Record<string, string>} values
 * @param {RequestInit} [more]
 * @returns {Promise<Response>} the answer; a status of 400 and more is thrown as an error with the server's words
 */
export async function post(address, values, more = {}) {
  const body = values instanceof FormData || values instanceof URLSearchParams ? values : new URLSearchParams(values);
  const answer = await fetch(address, {
    method: "POST",
    body,
    credentials: "same-origin",
    ...more,
    headers: { "X-CSRFToken": csrfToken(), Accept: "application/json", ...more.headers },
  });
  if (!answer.ok) {
    throw new Error(await problem(answer));
  }
  return answer;
}

/**
 * What a refused request says of itself.
 *
 * @param {Response} answer
 * @returns {Promise<string>}
 */
export async function problem(answer) {
  const kind = answer.headers.get("content-type") ?? "";
  if (kind.includes("json")) {
    const told = await answer.json();
    return told.detail ?? told.title ?? String(answer.status);
  }
  return String(answer.status);
}
