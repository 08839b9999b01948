// Sending one file as the body of one request, with progress; and its SHA-256 beforehand.

import { csrfToken } from "../shell/requests.js";

const PREAMBLE = 128;
const MOST_HASHED = 512 * 1024 * 1024;
const ZIP = [0x50, 0x4b];
const DICM = [0x44, 0x49, 0x43, 0x4d];

/**
 * Whether bytes stand at a place.
 *
 * @param {Uint8Array} bytes
 * @param {number} at
 * @param {number[]} mark
 */
function has(bytes, at, mark) {
  return mark.every((value, place) => bytes[at + place] === value);
}

/**
 * SHA-256 of a file as the server keeps it: with the preamble of a DICOM file cleared.
 *
 * @param {File} file
 * @returns {Promise<string>} hexadecimal; empty where it is not worth it (a ZIP), or the browser gives none (no TLS)
 */
export async function sha256(file) {
  if (!globalThis.crypto?.subtle || file.size > MOST_HASHED) {
    return "";
  }
  const head = new Uint8Array(await file.slice(0, PREAMBLE + 4).arrayBuffer());
  const dicom = has(head, PREAMBLE, DICM);
  if (!dicom && has(head, 0, ZIP)) {
    return "";
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (dicom) {
    bytes.fill(0, 0, PREAMBLE);
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @typedef {object} Answer
 * @property {number} status of HTTP; 0 where the server was not reached
 * @property {number} wait seconds that the server asks to wait before the next try
 * @property {Record<string, any>} told its JSON; of a ZIP's lines the last one
 */

/**
 * Send a file.
 *
 * @param {string} address
 * @param {File} file
 * @param {(share: number) => void} onProgress share sent, 0 to 1; 1 when the server has it all
 * @param {AbortSignal} signal
 * @returns {Promise<Answer>}
 */
export function send(address, file, onProgress, signal) {
  return new Promise((give, fail) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRFToken", csrfToken());
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded / Math.max(event.total, 1)));
    request.upload.addEventListener("load", () => onProgress(1));
    request.addEventListener("load", () => give(answerOf(request)));
    request.addEventListener("error", () => give({ status: 0, wait: 0, told: {} }));
    request.addEventListener("abort", () => fail(new DOMException("cancelled", "AbortError")));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    if (signal.aborted) {
      request.abort();
      fail(new DOMException("cancelled", "AbortError"));
      return;
    }
    request.send(file);
  });
}

/**
 * @param {XMLHttpRequest} request
 * @returns {Answer}
 */
function answerOf(request) {
  const wait = Number(request.getResponseHeader("Retry-After")) || 0;
  const line = request.responseText.trim().split("\n").at(-1) ?? "";
  try {
    return { status: request.status, wait, told: JSON.parse(line) };
  } catch {
    // Not ours: a proxy's page. The status tells what there is to tell.
    return { status: request.status, wait, told: {} };
  }
}
