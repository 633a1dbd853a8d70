// Package mergepatch writes, reads and applies JSON merge patches (RFC 7396), the usual
// body of an HTTP PATCH request. A merge patch is a JSON object with the members to
// change: a member with a value replaces the one in the document, a member that is null
// removes it, and a member that is missing leaves the document as it is.
//
// # Writing a patch
//
// A pointer with omitempty cannot tell a missing member from null. A [Field] can. Declare
// a struct of Fields, each with the omitzero option of encoding/json, and set the ones to
// change:
//
//	type ThingPatch struct {
//		Name  mergepatch.Field[string]   `json:"name,omitzero"`
//		Count mergepatch.Field[int]      `json:"count,omitzero"`
//		List  mergepatch.Field[[]string] `json:"list,omitzero"`
//	}
//
//	body, err := json.Marshal(ThingPatch{
//		Count: mergepatch.Null[int](),
//		List:  mergepatch.Of([]string{}),
//	})
//	// {"count":null,"list":[]}
//
// Send it with its media type:
//
//	req, err := retryablehttp.NewRequest(http.MethodPatch, url, body)
//	req.Header.Set("Content-Type", mergepatch.MediaType)
//
// If omitzero is forgotten, an absent Field is an error of json.Marshal that wraps
// [ErrAbsent]. It is not sent as null, because that would remove the member.
//
// There is no marker that makes an ordinary pointer, map or slice null: encoding/json could
// not write it without code for each type.
//
// A patch without a struct is a map[string]mergepatch.Field[any].
//
// # Nested objects
//
// A patch changes single members of a nested object if the object is a struct of Fields:
//
//	type OwnerPatch struct {
//		Mail mergepatch.Field[string] `json:"mail,omitzero"`
//	}
//
//	Owner mergepatch.Field[OwnerPatch] `json:"owner,omitzero"`
//
// Null then removes the whole owner, and Of(OwnerPatch{}) sends {}, which changes nothing
// in an owner that exists and adds an empty one otherwise. If Owner needs no Null, it can
// be a plain OwnerPatch with omitzero: it is left out if all of its Fields are absent.
//
// A value that is not made of Fields, such as a map[string]string, is merged into the
// object in the document too: the members that it does not name stay. An array is
// replaced as a whole (RFC 7396, section 1).
//
// # Reading a patch
//
// A server decodes the body into the same struct. Each Field tells the three cases apart:
//
//	if name, ok := patch.Name.Get(); ok {
//		thing.Name = name
//	} else if patch.Name.IsNull() {
//		thing.Name = "" // or an error: the name is required
//	}
//
// A server that stores JSON can use [Apply] instead, which needs no struct.
//
// # Retries
//
// Applying the same patch again changes nothing more. So a retry does harm only if another
// client has changed the document between the two. An If-Match header prevents that (RFC
// 5789, section 2).
//
// # Limits
//
//   - A *Field is not for patches: encoding/json turns null into a nil pointer, as if the
//     member were missing. An embedded Field makes the whole struct be encoded as the Field.
//   - Without a Field, null is not seen: encoding/json reads null for a plain nested struct
//     as if the member were missing, and {"a":null} for a Field[map[string]int] as {"a":0}.
//     A server that must see it uses a Field of the struct, a map of Fields, or [Apply].
//   - The string option of a json tag has no effect on a Field. With omitempty instead of
//     omitzero, an absent Field is an error. Elements of maps and slices have no omitzero,
//     so an absent Field in one is an error too.
//   - encoding/json finds a member also if the case of its name differs: {"NAME":null} sets
//     the Field of name. [Apply] compares names exactly.
//   - A Field hides the settings of a json.Decoder: DisallowUnknownFields and UseNumber do
//     not reach its value. A Field[json.RawMessage] keeps the text of a value.
//   - Every Field reads its text again. If a type contains itself by way of a Field, the
//     time grows with the square of the depth that the text has, up to seconds for 50 kB
//     from a stranger. Limit the size of the body, or use [Apply].
//   - A value that contains itself by way of a Field cannot be encoded: encoding/json does
//     not notice the cycle and the stack overflows.
package mergepatch
