"""Published SRTP vectors: RFC 3711 appendix B.2 and B.3, RFC 7714 sections 16 and 17 (AES-128 parts).

RFC 3711 gives a key stream and a key derivation; RFC 7714 gives whole packets under *session* keys, which section 16
and 17 share, with 00000000 as rollover counter and 5d4 as SRTCP index.
"""

# RFC 3711 appendix B.2: SSRC, rollover counter and sequence number are 0
B2_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
B2_SALT = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfd")
B2_KEY_STREAM = bytes.fromhex(
    "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0"
)
B2_BLOCKS_FEFF_TO_FF01 = bytes.fromhex(
    "ec8cdf7398607cb0f2d21675ea9ea1e4362b7c3c6773516318a077d7fc5073ae6a2cc3787889374fbeb4c81b17ba6c44"
)

# RFC 3711 appendix B.3
B3_MASTER_KEY = bytes.fromhex("e1f97a0d3e018be0d64fa32c06de4139")
B3_MASTER_SALT = bytes.fromhex("0ec675ad498afeebb6960b3aabe6")
B3_CIPHER_KEY = bytes.fromhex("c61e7a93744f39ee10734afe3ff7a087")
B3_CIPHER_SALT = bytes.fromhex("30cbbc08863d8c85d49db34a9ae1")
B3_AUTH_KEY = bytes.fromhex("cebe321f6ff7716b6fd4ab49af256a156d38baa4")  # the first 20 of the 94 octets printed

# RFC 7714
GCM_KEY = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
GCM_SALT = bytes.fromhex("517569642070726f2071756f")
GCM_RTP = bytes.fromhex(
    "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573"
)
GCM_SRTP_16_1 = bytes.fromhex(
    "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf"
    "8833899d7f27beb16a9152cf765ee4390cce"
)
GCM_RTCP = bytes.fromhex(
    "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
)
GCM_SRTCP_INDEX = 0x5D4
GCM_SRTCP_17_1 = bytes.fromhex(
    "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded"
    "0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4"
)
