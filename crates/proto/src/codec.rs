//! How messages of all services become bytes and come back: protobuf, with lists judged before
//! anything is decoded.

use std::marker::PhantomData;

use prost::{Message, Name, bytes::Buf as _};
use quorate_model::{Reason, Refusal};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstCodec;

use crate::{lists, status::to_status};

/// The codec of the generated services.
#[derive(Debug)]
pub struct BoundedCodec<T, U>(ProstCodec<T, U>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(ProstCodec::new())
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// Decodes a message whose lists are short enough.
#[derive(Debug)]
pub struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Name + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        lists::check::<U>(&bytes).map_err(|refusal| to_status(&refusal))?;
        U::decode(bytes).map(Some).map_err(|error| {
            let message = format!("the bytes are no {}: {error}", U::full_name());
            to_status(&Refusal::new(Reason::RequestInvalid, message))
        })
    }
}
