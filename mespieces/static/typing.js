// Typing aids: codes grouped and checked as they are typed, forms sent once.
"use strict";
(() => {
  const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  const KINDS = {
    reference: { group: 4, total: 8, join: "-", checked: true, name: "cette référence", known: "la référence" },
    secret: { group: 5, total: 20, join: "-", checked: true, name: "ce code", known: "le code d’accès" },
    digits: { group: 4, total: 8, join: " ", checked: false, known: "le code" },
    six: { group: 3, total: 6, join: " ", checked: false, known: "le code" },
  };
  // What may stand between groups, and what ends a part of a text: the server reads alike (domain/codes.py).
  const SEPARATORS = /[\s\p{Dash}\p{Cf}\u2043_.·•]/gu;
  const BOUNDARIES = /[:;,=|/()[\]«»“”"\t\r\n]/;

  const bare = (text) => text.replace(SEPARATORS, "").toUpperCase();
  const meant = (text) => bare(text).replace(/O/g, "0").replace(/[IL]/g, "1"); // O reads as 0, I and L as 1

  // Luhn mod 32, rightmost payload character doubled.
  function wellFormed(text) {
    const values = [...meant(text)].map((c) => ALPHABET.indexOf(c));
    if (values.includes(-1)) return false;
    const sum = values.reverse().reduce((total, value, i) => {
      const weighted = i % 2 ? value * 2 : value;
      return total + Math.floor(weighted / 32) + (weighted % 32);
    }, 0);
    return sum % 32 === 0;
  }

  // Whether the text can be this code being typed, and nothing more.
  const plain = (text, kind) => bare(text).length <= kind.total && !/[^0-9A-Z]/.test(bare(text));

  // The only code of a kind in a text put in as a whole (« Code : V5JWY-… »), none when there is none or several.
  function found(text, kind) {
    const fits = (part) => bare(part).length === kind.total && (kind.checked ? wellFormed(part) : /^\d+$/.test(bare(part)));
    const parts = text.split(BOUNDARIES);
    const candidates = [...parts];
    for (const part of parts) {
      const words = part.trim().split(/\s+/);
      const runs = [];
      words.forEach((word, i) => {
        if (i && bare(word).length === bare(words[i - 1]).length) runs[runs.length - 1] += word;
        else runs.push(word);
      });
      candidates.push(...words, ...runs);
    }
    const codes = new Set((fits(text) ? [text] : candidates.filter(fits)).map(meant));
    return codes.size === 1 ? [...codes][0] : "";
  }

  // The text in groups, or as it is when it is something else: nothing is ever cut.
  function grouped(text, kind) {
    if (!plain(text, kind)) return text;
    return bare(text).match(new RegExp(`.{1,${kind.group}}`, "g"))?.join(kind.join) ?? "";
  }

  // Where the caret goes: after as many characters as it had before it, separators not counted.
  function caretIn(text, before) {
    let at = 0;
    for (let left = before; left > 0 && at < text.length; at += 1) if (bare(text[at])) left -= 1;
    return at;
  }

  // What to say of a code that is complete; an unfinished one is left in peace.
  function remark(text, kind) {
    const count = bare(text).length;
    if (!kind.checked || count < kind.total) return "";
    if (count > kind.total) {
      const extra = count - kind.total;
      return `Il y a ${extra} caractère${extra > 1 ? "s" : ""} de trop : comparez avec le feuillet, groupe par groupe.`;
    }
    return wellFormed(text) ? "" : `Il y a une faute de frappe dans ${kind.name} : comparez avec le feuillet, groupe par groupe.`;
  }

  if (typeof module === "object") { module.exports = { KINDS, wellFormed, found, grouped, caretIn, remark }; return; }

  function aid(input) {
    const kind = KINDS[input.dataset.code];
    if (!kind) return;
    const said = document.createElement("span");
    said.className = "said";
    said.id = `${input.id}-said`;
    said.setAttribute("aria-live", "polite");
    input.after(said);
    input.setAttribute("aria-describedby", `${input.getAttribute("aria-describedby") ?? ""} ${said.id}`.trim());

    const group = () => {
      const text = grouped(input.value, kind);
      if (text === input.value) return;
      const caret = caretIn(text, bare(input.value.slice(0, input.selectionStart ?? input.value.length)).length);
      input.value = text;
      if (document.activeElement === input) input.setSelectionRange(caret, caret);
    };
    const speak = () => {
      const text = remark(input.value, kind);
      if (!text && said.matches(".ok")) return;
      said.className = "said";
      if (said.textContent !== text) said.textContent = text;
      if (text) input.setAttribute("aria-invalid", "true");
      else if (kind.checked && bare(input.value)) input.removeAttribute("aria-invalid");
    };
    // A text with more than this code: each code in it goes to its field, unless another stands there, and that is said.
    // A whole code of another field is more than this one being typed, short as it is.
    const misplaced = (text) => [...input.form.querySelectorAll("input[data-code]")]
      .map((field) => KINDS[field.dataset.code])
      .some((of) => of.checked && of.total < kind.total && bare(text).length === of.total && wellFormed(text));
    const sort = (text) => {
      if (plain(text, kind) && !misplaced(text)) return false;
      const codes = [...input.form.querySelectorAll("input[data-code]")]
        .map((field) => ({ field, of: KINDS[field.dataset.code], code: found(text, KINDS[field.dataset.code]) }))
        .filter(({ field, code }) => code && (field === input || !field.value.trim() || meant(field.value) === code));
      if (!codes.length) return false;
      if (codes.every(({ field }) => field !== input)) input.value = "";
      for (const { field, of, code } of codes) {
        field.value = grouped(code, of);
        field.removeAttribute("aria-invalid");
      }
      said.className = "said ok";
      said.textContent = `Reconnu dans ce que vous avez mis ici\u00a0: ${codes.map(({ of }) => of.known).join(" et ")}. Le reste n’est pas gardé.`;
      return true;
    };
    input.addEventListener("paste", (event) => { if (sort(event.clipboardData?.getData("text") ?? "")) event.preventDefault(); });
    input.addEventListener("input", (event) => {
      if (said.matches(".ok")) { said.className = "said"; said.textContent = ""; } // told of what was put in before
      if (!event.isComposing) group();
      if (said.textContent || bare(input.value).length === kind.total) speak();
    });
    input.addEventListener("compositionend", group);
    input.addEventListener("blur", () => { sort(input.value); speak(); });
    group();
  }

  // A form marked data-once leaves once; the page coming back from the history can send again.
  // Buttons are not disabled: a disabled button would not send its own value.
  function once(event) {
    const form = event.target;
    if (event.defaultPrevented || !form.matches("[data-once]")) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
    for (const button of form.querySelectorAll("button")) button.setAttribute("aria-disabled", "true");
  }
  function again() {
    for (const form of document.querySelectorAll("[data-sent]")) {
      delete form.dataset.sent;
      for (const button of form.querySelectorAll("button")) button.removeAttribute("aria-disabled");
    }
  }

  document.querySelectorAll("input[data-code]").forEach(aid);
  document.addEventListener("submit", once);
  addEventListener("pageshow", again);
})();
