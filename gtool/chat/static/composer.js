/** The field that a message is written in: Enter sends it, Shift+Enter is a new line. */

/** Have `send(text)` called for each message that is written in a form. */
export function readComposer(form, send) {
  const field = form.elements.message;
  form.noValidate = true; // Enter in an empty field is no mistake to be told of

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = field.value;
    field.focus();
    if (!text.trim()) return;
    field.value = "";
    fit(field);
    send(text);
  });
  field.addEventListener("input", () => fit(field));
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return; // it may end a word of an input method
    event.preventDefault();
    form.requestSubmit();
  });
}

/** Put a text back into the field, above what is there. */
export function putBack(form, text) {
  const field = form.elements.message;
  field.value = [text, field.value].filter(Boolean).join("\n");
  fit(field);
  field.focus();
}

/** Have a field be as high as its text, in browsers that don't do so by themselves. */
function fit(field) {
  if (CSS.supports("field-sizing", "content")) return;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`; // and its border
}
